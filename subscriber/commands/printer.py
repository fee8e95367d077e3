"""Standard output of commands that print a bounded number of lines."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from subscriber.commands.asking import Impossible
from subscriber.commands.standard_output import StandardOutput

_LOOK_BYTES = 64 * 1024

_Result = TypeVar("_Result")


class Printer:
    """Prints lines, and notices a reader that goes away; `printing` gives one.

    Each method raises ReaderGone when nobody reads any more, and CannotPrint when standard output
    can't be written.
    """

    def __init__(self, output: StandardOutput, writing: asyncio.Task[Any]) -> None:
        self._output = output
        self._writing = writing
        self._put_bytes = 0

    async def print(self, line: bytes) -> None:
        """Print a line, with its newline, waiting while too many are not written."""
        if self._writing.done():
            self._writing.result()
        self._output.put(line, None)
        self._put_bytes += len(line)
        if self._put_bytes > _LOOK_BYTES:
            self._put_bytes = 0
            await self.while_read(self._output.room())

    async def print_text(self, line: str) -> None:
        """Print a line of text, to which a newline is added."""
        await self.print(line.encode(errors="replace") + b"\n")

    async def flush(self) -> None:
        """Wait until every line is written."""
        await self.while_read(self._output.drain())

    async def while_read(self, work: Awaitable[_Result]) -> _Result:
        """Do some work for as long as somebody reads; it is cancelled when nobody does."""
        working = asyncio.ensure_future(work)
        try:
            await asyncio.wait([working, self._writing], return_when=asyncio.FIRST_COMPLETED)
            if self._writing.done():
                self._writing.result()
            return await working
        finally:
            if not working.done():
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)


@asynccontextmanager
async def printing() -> AsyncIterator[Printer]:
    """Give a printer on standard output, which is flushed where all went well.

    Raises:
        Impossible: standard output is closed.
        ReaderGone, CannotPrint: see `Printer`.
    """
    if sys.stdout is None:
        # Its number is that of any file by now.
        raise Impossible("standard output is closed")
    output = StandardOutput(sys.stdout.fileno())
    writing = asyncio.create_task(output.write())
    try:
        printer = Printer(output, writing)
        yield printer
        await printer.flush()
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
