"""Standard error, which holds up nothing where nobody reads it."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from publisher.output import CannotPrint
from publisher.refusals import one_line
from subscriber.commands.lines import visible
from subscriber.commands.standard_output import ReaderGone, StandardOutput

_END_S = 1.0


class ErrorOutput:
    """Prints sentences of the program and what its commands say; `opened` gives one.

    Args:
        program: the name in front of each sentence.
        output: standard error; None: it is closed.
    """

    def __init__(self, program: str, output: StandardOutput | None) -> None:
        self._program = program
        self._output = output
        self._is_gone = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def opened(cls, program: str) -> AsyncIterator["ErrorOutput"]:
        """Open standard error, and give what is to be printed a moment at the end."""
        if sys.stderr is None:
            # Its number is that of any file by now.
            yield cls(program, None)
            return
        output = StandardOutput(sys.stderr.fileno())
        errors = cls(program, output)
        writing = asyncio.create_task(errors._write(output))
        try:
            yield errors
        finally:
            await errors._while_read(output.drain(), _END_S)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        self.put(f"{self._program}: {visible(sentence)}\n".encode())

    def put(self, text: bytes) -> None:
        """Print a text as it is; it is dropped where nobody reads."""
        if self._output is not None and not self._is_gone.is_set():
            self._output.put(text, None)

    async def room(self) -> None:
        """Wait while there is too much to print."""
        if self._output is not None:
            await self._while_read(self._output.room())

    async def _write(self, output: StandardOutput) -> None:
        try:
            await output.write()
        except (ReaderGone, CannotPrint):
            self._is_gone.set()

    async def _while_read(
        self, work: Coroutine[Any, Any, None], timeout_s: float | None = None
    ) -> None:
        """Do some work while somebody reads, and at most for some time."""
        tasks = [asyncio.create_task(work), asyncio.create_task(self._is_gone.wait())]
        try:
            await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Said(logging.Handler):
    """Says what the library logs, a line each, without tracebacks."""

    def __init__(self, errors: ErrorOutput) -> None:
        super().__init__(logging.INFO)
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        """Say a record."""
        self._errors.say(one_line(record.getMessage()))


@contextmanager
def log_said(errors: ErrorOutput) -> Iterator[None]:
    """Have said what the library logs."""
    log = logging.getLogger("subscriber")
    handler = _Said(errors)
    level, propagates = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagates
