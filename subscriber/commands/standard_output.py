"""Standard output as a queue of lines: bounded, and aware of a reader that goes away."""

import asyncio
import os
import select
import stat
from typing import NoReturn

from publisher.output import CannotPrint

_MAX_WAITING_BYTES = 1024 * 1024


class ReaderGone(Exception):
    """Nobody reads standard output any more."""


class StandardOutput:
    """Writes lines in order, and remembers the position behind those that are written.

    A pipe or a terminal is written to only when it has room, so that a slow reader holds up no
    signal. A reader of a pipe that goes away is noticed also while there is nothing to write.

    Args:
        file: the file descriptor.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        mode = os.fstat(file).st_mode
        self._is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        self._has_room_later = self._is_pipe or os.isatty(file)
        self._lines: list[bytes] = []
        self._waiting_bytes = 0
        self._position: str | None = None
        self._written: str | None = None
        self._is_gone = False
        self._has_work = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_done = asyncio.Event()
        self._is_done.set()

    @property
    def is_written(self) -> bool:
        """Whether every line is written."""
        return self._is_done.is_set()

    @property
    def written(self) -> str | None:
        """The position behind the last line that is written; None if there is none."""
        return self._written

    def put(self, line: bytes, position: str | None) -> None:
        """Have a line written.

        Args:
            line: the line, with its newline.
            position: the position behind it.
        """
        self._lines.append(line)
        self._position = position
        self._waiting_bytes += len(line)
        self._is_done.clear()
        self._has_work.set()
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            self._has_room.clear()

    async def room(self) -> None:
        """Wait while there is too much to write."""
        await self._has_room.wait()

    async def drain(self) -> None:
        """Wait until every line is written."""
        await self._is_done.wait()

    async def write(self) -> NoReturn:
        """Write what is put, for as long as somebody reads.

        Raises:
            ReaderGone: nobody does any more.
            CannotPrint: a write failed for another reason.
        """
        loop = asyncio.get_running_loop()
        if self._is_pipe:
            # Nothing can be read from it, but its end can be noticed.
            loop.add_reader(self._file, self._look)
        try:
            while True:
                await self._has_work.wait()
                if self._is_gone:
                    raise ReaderGone
                self._has_work.clear()
                lines, position = self._lines, self._position
                self._lines, self._waiting_bytes = [], 0
                self._has_room.set()
                await self._write(b"".join(lines))
                self._written = position
                if not self._lines:
                    self._is_done.set()
        except BrokenPipeError as error:
            raise ReaderGone from error
        except OSError as error:
            raise CannotPrint(f"cannot write to standard output: {error.strerror}") from error
        finally:
            if self._is_pipe:
                loop.remove_reader(self._file)

    async def _write(self, text: bytes) -> None:
        rest = memoryview(text)
        while rest:
            if self._has_room_later:
                await self._until_room()
                # So much does not wait where there is room at all.
                rest = rest[os.write(self._file, rest[: select.PIPE_BUF]) :]
            else:
                rest = rest[os.write(self._file, rest) :]

    async def _until_room(self) -> None:
        if self._happened(select.POLLOUT):
            return
        loop = asyncio.get_running_loop()
        has_room = asyncio.Event()
        loop.add_writer(self._file, has_room.set)
        try:
            await has_room.wait()
        finally:
            loop.remove_writer(self._file)

    def _look(self) -> None:
        if self._happened(0):
            self._is_gone = True
            self._has_work.set()
        # Else it is a socket or a pipe that is open for reading too, and something came.
        asyncio.get_running_loop().remove_reader(self._file)

    def _happened(self, events: int) -> int:
        """Return which of some events there are now; an error and the end are always among them."""
        poll = select.poll()
        poll.register(self._file, events)
        return sum(happened for _, happened in poll.poll(0))
