"""The program journalctl, which is started, read line by line, and ended."""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Self

MAX_ENTRY_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_BUFFER_BYTES = 1024 * 1024
"""asyncio stops reading a pipe when it holds twice as much."""
_PATIENCE_S = 2.0
_MAX_ERROR_LINES = 20
_MAX_ERROR_CHARACTERS = 500
_CALM = {"SYSTEMD_COLORS": "0", "SYSTEMD_URLIFY": "0"}
"""Without the first, a variable of the user's colours JSON in a pipe too."""


class NotStarted(Exception):
    """journalctl can't be started; the message is one sentence."""


class Journalctl:
    """One run of journalctl, a context that ends it.

    Args:
        arguments: the arguments of journalctl.
        on_error: called with each line of its stderr as it comes.
    """

    def __init__(self, arguments: Sequence[str], on_error: Callable[[str], None]) -> None:
        self._arguments = arguments
        self._on_error = on_error
        self._process: Process
        self._stderr: asyncio.Task[None]
        self.errors: list[str] = []
        """The last lines of its stderr."""

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            NotStarted: it is not there, or can't be started.
        """
        try:
            self._process = await asyncio.create_subprocess_exec(
                "journalctl",
                *self._arguments,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                limit=_BUFFER_BYTES,
                env=os.environ | _CALM,
                start_new_session=True,  # a Ctrl-C is for the shipper, which ends it
            )
        except OSError as error:
            raise NotStarted(
                f"journalctl can't be started ({error.strerror}): install systemd, which brings it"
            ) from error
        self._stderr = asyncio.create_task(self._read_errors())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it, if it has not ended by itself, and wait until nothing is left of it."""
        self._signal(self._process.terminate)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._drained()
        except TimeoutError:
            self._signal(self._process.kill)
            await self._drained()
        except asyncio.CancelledError:
            self._signal(self._process.kill)
            raise

    async def lines(self) -> AsyncGenerator[bytes | None]:
        """Give its lines as they come, to the end of its output.

        What is behind the last newline is half an entry, and not given.

        Yields:
            a line without its newline; None in place of one of more than `MAX_ENTRY_BYTES`.
        """
        stdout = _opened(self._process.stdout)
        parts: list[bytes] = []
        length = 0
        while chunk := await stdout.read(_CHUNK_BYTES):
            *whole, rest = chunk.split(b"\n")
            for line in whole:
                if length + len(line) > MAX_ENTRY_BYTES:
                    yield None
                else:
                    yield b"".join([*parts, line]) if parts else line
                parts, length = [], 0
            length += len(rest)
            if length > MAX_ENTRY_BYTES:
                parts = []
            elif rest:
                parts.append(rest)

    async def status(self) -> int:
        """Wait for its end.

        Returns:
            Its exit status, or the negative number of the signal that killed it.
        """
        status = await self._process.wait()
        await self._stderr
        return status

    def _signal(self, send: Callable[[], None]) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                send()

    async def _drained(self) -> None:
        """Read to the end what nobody wants any more, as a full pipe is never closed."""
        stdout = _opened(self._process.stdout)
        while await stdout.read(_CHUNK_BYTES):
            pass
        await asyncio.shield(self._stderr)
        await self._process.wait()

    async def _read_errors(self) -> None:
        stderr = _opened(self._process.stderr)
        rest = b""
        while chunk := await stderr.read(_CHUNK_BYTES):
            *whole, rest = (rest[:_CHUNK_BYTES] + chunk).split(b"\n")
            for line in whole:
                self._keep(line)
        self._keep(rest)

    def _keep(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()[:_MAX_ERROR_CHARACTERS]
        if text:
            self.errors = [*self.errors, text][-_MAX_ERROR_LINES:]
            self._on_error(text)


def _opened(pipe: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if pipe is None:
        raise ValueError("the process was started without this pipe")
    return pipe
