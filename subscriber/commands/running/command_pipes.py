"""The pipes of a command: events to its standard input, and its standard error to ours."""

import asyncio
import os
import select
import sys
from collections.abc import Callable, Iterable

from subscriber.commands.running.error_output import ErrorOutput

_READ_BYTES = 64 * 1024
_CHARACTER_BYTES = 4


async def feed(pipe: int, pieces: Iterable[bytes]) -> None:
    """Write pieces to a pipe, as long as somebody reads it.

    Args:
        pipe: the end to write to.
        pieces: what is written, one behind the other.
    """
    loop = asyncio.get_running_loop()
    os.set_blocking(pipe, False)
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                try:
                    rest = rest[os.write(pipe, rest) :]
                except BlockingIOError:
                    await _event(pipe, loop.add_writer, loop.remove_writer)
    except BrokenPipeError:
        return  # it wants no more, which is no failure


class ErrorRelay:
    """Passes on what a command writes to its standard error, and keeps the end of it.

    Args:
        pipe: the end to read from.
        output: where it goes.
        max_characters: of what is kept.
    """

    def __init__(self, pipe: int, output: ErrorOutput, max_characters: int) -> None:
        self._pipe = pipe
        self._output = output
        self._max_characters = max_characters
        self._kept = b""
        self._has_ended = False
        os.set_blocking(pipe, False)

    @property
    def end(self) -> str:
        """The end of what came so far."""
        return self._kept.decode(errors="replace").strip()[-self._max_characters :]

    async def run(self) -> None:
        """Pass on what comes, until its writers have closed the pipe."""
        loop = asyncio.get_running_loop()
        while not self._has_ended:
            if not self._read():
                await _event(self._pipe, loop.add_reader, loop.remove_reader)
            await self._output.room()

    def take(self) -> None:
        """Take what is there by now."""
        while not self._has_ended and self._read():
            pass

    def _read(self) -> bool:
        """Read once; return whether there was anything, its end included."""
        try:
            piece = os.read(self._pipe, _READ_BYTES)
        except BlockingIOError:
            return False
        self._has_ended = not piece
        kept = self._kept + piece
        self._kept = kept[-self._max_characters * _CHARACTER_BYTES :]
        self._output.put(piece)
        return True


def is_standard_output_read() -> bool:
    """Return whether anybody may read standard output; of a file, whoever opens it."""
    if sys.stdout is None:
        return True
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return not poll.poll(0)


async def _event(
    pipe: int,
    add: Callable[[int, Callable[[], None]], object],
    remove: Callable[[int], object],
) -> None:
    """Wait until something can be read from a pipe, or written to it."""
    happened = asyncio.Event()
    add(pipe, happened.set)
    try:
        await happened.wait()
    finally:
        remove(pipe)
