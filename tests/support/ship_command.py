"""The command `ship` as people run it: to its end, or following."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from publisher.ship.log_events import line_bytes
from support.processes import wait_for


class Ship:
    """Runs `python -m publisher ship` in a directory of its own.

    Args:
        url: of the aggregator.
        directory: of the logs.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory
        self._running: list[subprocess.Popen[bytes]] = []

    def once(self, *arguments: str | Path, stdin: bytes = b"") -> tuple[int, str]:
        """Run it to its end, and return its status and all that it said."""
        done = subprocess.run(
            self._command(*arguments),
            input=stdin,
            env=self._env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    def follow(self, *arguments: str | Path, max_descriptors: int = 0) -> "Following":
        """Start it, to follow files."""
        told = self.directory.parent / f"told-{len(self._running)}"
        command = self._command("--follow", *arguments)
        if max_descriptors:
            limits = f'ulimit -n {max_descriptors}; exec "$@"'
            command = ["/bin/sh", "-c", limits, "sh", *command]
        with told.open("wb") as output:
            process = subprocess.Popen(command, env=self._env(), stdout=output, stderr=output)
        self._running.append(process)
        return Following(process, told)

    def events(self) -> list[dict[str, Any]]:
        """All events that are stored."""
        with urlopen(f"{self.url}/events?topic=logs&after=0&limit=5000") as answer:
            events: list[dict[str, Any]] = json.load(answer)
        return events

    def lines(self) -> list[str]:
        """The lines that are stored, in no order."""
        return sorted(line_bytes(event["payload"]).decode() for event in self.events())

    def wait_for_lines(self, *lines: str) -> None:
        """Return once these lines are stored, and fail the test if others are."""
        expected = sorted(f"{line}\n" for line in lines)
        wait_for(lambda: len(self.lines()) >= len(expected), f"{len(expected)} lines")
        assert self.lines() == expected

    def kill(self) -> None:
        """End what still runs."""
        for process in self._running:
            process.kill()
            process.wait()

    def _command(self, *arguments: str | Path) -> list[str]:
        given = [os.fspath(argument) for argument in arguments]
        topic = [] if "--topic" in given else ["--topic", "logs"]
        return [sys.executable, "-m", "publisher", "ship", "--url", self.url, *topic, *given]

    def _env(self) -> dict[str, str]:
        state = {"XDG_STATE_HOME": str(self.directory.parent / "state")}
        return os.environ | state | {"PYTHONDEVMODE": "", "PYTHONUNBUFFERED": "1"}


class Following:
    """A command that follows."""

    def __init__(self, process: subprocess.Popen[bytes], told: Path) -> None:
        self._process = process
        self._told = told

    @property
    def told(self) -> str:
        """All that it said so far, but for the name of its checkpoint."""
        lines = self._told.read_text().splitlines(keepends=True)
        return "".join(line for line in lines if "the checkpoint is" not in line)

    def wait_for_told(self, text: str) -> None:
        """Return once it has said something."""
        wait_for(lambda: text in self.told, text)

    def end(self) -> str:
        """End it, check that it ends well, and return all that it said."""
        assert self._process.poll() is None, self.told
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(30) == 0, self.told
        return self.told
