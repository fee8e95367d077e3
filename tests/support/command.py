"""Running `python -m aggregator` to its end, or on a terminal."""

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from support.processes import wait_for

_LIMIT_S = 30.0
_PROGRAM = [sys.executable, "-m", "aggregator"]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without any setting of the aggregator, plus `changes`."""
    bare = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AGGREGATOR_") and name != "DATABASE_URL"
    }
    return bare | dict(changes or {})


class Ended(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


def run_to_end(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    """Run the command; fails the test if it does not end by itself."""
    done = subprocess.run(
        [*_PROGRAM, *arguments],
        cwd=cwd,
        env=environment(env),
        capture_output=True,
        timeout=_LIMIT_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


class OnTerminal:
    """A running command whose standard output and error are a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process = process
        self._terminal = terminal
        self._seen = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # The last reader of a terminal whose other end is closed gets an I/O error.
        with suppress(OSError):
            while data := os.read(self._terminal, 65_536):
                self._seen += data

    @property
    def text(self) -> str:
        """What a person would have seen so far."""
        return self._seen.decode().replace("\r\n", "\n")

    def wait_for_text(self, text: str) -> None:
        """Return once `text` is on the screen."""
        wait_for(
            lambda: text in self.text or self.process.poll() is not None, f"{text!r} on the screen"
        )
        assert text in self.text, self.text

    def stop(self, number: int) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(_LIMIT_S)
        self._reader.join(_LIMIT_S)
        return code


@contextmanager
def on_terminal(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = _PROGRAM,
) -> Iterator[OnTerminal]:
    """The command, or another program, with a terminal as its standard output and error."""
    terminal, its_end = pty.openpty()
    try:
        process = subprocess.Popen(
            [*program, *arguments],
            cwd=cwd,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=its_end,
            stderr=its_end,
        )
        os.close(its_end)
        try:
            yield OnTerminal(process, terminal)
        finally:
            process.kill()
            process.wait(_LIMIT_S)
    finally:
        os.close(terminal)
