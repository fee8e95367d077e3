"""A real aggregator process, started from its command line."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

_LIMIT_S = 30.0
_BARRIER = "log-barrier-"
_BARRIER_S = 1.0


def wait_for(condition: Callable[[], bool], what: str, limit_s: float = _LIMIT_S) -> None:
    """Return once `condition` holds; fail the test if it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s} s for {what}"
        time.sleep(0.02)


def suspend(process: psutil.Process) -> None:
    """As `kill -STOP`; returns once none of its threads runs any more."""
    process.suspend()
    threads = Path(f"/proc/{process.pid}/task")

    def stopped() -> bool:
        # What comes before the state, the name, is in brackets.
        states = [(each / "stat").read_text().rpartition(") ")[2] for each in threads.iterdir()]
        return all(state.startswith("T") for state in states)

    wait_for(stopped, "the process to stop")


class Aggregator:
    """A running `python -m aggregator`; its JSON log goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        self.url = ""
        self.trusting: ssl.SSLContext | None = None
        """What its clients here trust, of one that speaks TLS."""

    @classmethod
    def start(
        cls, arguments: Sequence[str], *, log: Path, cwd: Path, env: dict[str, str] | None = None
    ) -> "Aggregator":
        """Start one on a free port and wait until it listens."""
        started = cls.spawn(arguments, log=log, cwd=cwd, env=env)
        wait_for(started.listening, "the socket")
        return started

    @classmethod
    def spawn(
        cls,
        arguments: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        env: dict[str, str] | None = None,
        program: Sequence[str] = ("-m", "aggregator"),
    ) -> "Aggregator":
        """Start one on a free port; it does not listen yet. `program` is what Python runs."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *program, "--port", "0", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=os.environ | (env or {}),
            )
        return cls(process, log)

    def listening(self) -> bool:
        """Whether it listens by now, at `url`; fails the test if it has ended instead."""
        if not self.url:
            # Asked before the log is read: one that has ended writes nothing more.
            ended = self.process.poll() is not None
            for line in self.log_lines("listening"):
                self.url = line["url"]
            assert not ended, self.written().decode()
        return bool(self.url)

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log's complete lines so far, or those of one kind.

        Lines are written a little after they were logged. As long as the process answers, all
        that was logged before the call is among them.
        """
        self._await_log()
        complete = self.written().split(b"\n")[:-1]
        lines = [
            json.loads(line)
            for line in complete
            if line.startswith(b"{") and _BARRIER.encode() not in line
        ]
        return [line for line in lines if event is None or line["event"] == event]

    def _await_log(self) -> None:
        """Lines come in order: what was logged before a request is there when its line is."""
        if not self.url or self.process.poll() is not None:
            return
        barrier = f"{_BARRIER}{uuid.uuid4().hex}"
        request = Request(f"{self.url}/health", headers={"X-Request-ID": barrier})
        try:
            with urlopen(request, timeout=_BARRIER_S, context=self.trusting) as answer:
                answer.read()
        except (OSError, HTTPException):
            return
        deadline = time.monotonic() + _BARRIER_S
        while barrier.encode() not in self.written() and time.monotonic() < deadline:
            time.sleep(0.002)

    def written(self) -> bytes:
        """All that it wrote so far to its standard output and error."""
        return self._log.read_bytes()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(_LIMIT_S)

    def processes(self) -> list[psutil.Process]:
        """It and, where it has one, the process that it stores with."""
        try:
            process = psutil.Process(self.process.pid)
            return [process, *process.children()]
        except psutil.NoSuchProcess:
            return []

    def kill_at_once(self) -> None:
        """As `kill -9` of all its processes; nothing happens if it has ended."""
        if self.process.poll() is not None:
            return
        processes = self.processes()
        # Stopped first: one that sees another's end could tidy up before its own.
        for act in (psutil.Process.suspend, psutil.Process.kill):
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    act(process)

    def kill(self) -> None:
        """The same, and wait for the end."""
        processes = self.processes() if self.process.poll() is None else []
        self.kill_at_once()
        self.process.wait(_LIMIT_S)
        psutil.wait_procs(processes, _LIMIT_S)
