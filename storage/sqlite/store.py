"""The SQLite store that writes in a process of its own.

A Python process runs one thread at a time. A writing thread beside an event loop that parses and
answers gets its turn late, statement by statement, and each turn costs both of them; measured,
that was most of what storing single events took. So batches go to a process that does nothing
else, and reads stay here. See `docs/understand/decisions/0015-sqlite-is-written-by-a-process.md`.

The process ends when this one does, however it does: its end of the connection is closed then.
If it is the first to end, or is killed for it took too long, what it was given has an unknown
outcome, and the next `ping` starts another.

What is done here, opening and reading, can hang in the kernel as well, in a thread that nobody can
end. So whoever waits for it waits for so long and no longer, and it is never begun a second time
beside one that hangs.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from storage.errors import StorageUnavailable
from storage.model import (
    LARGEST_PAYLOAD_BYTES,
    TOPICS_PER_PAGE,
    Appended,
    Event,
    LogEvent,
    Page,
    Query,
    Stats,
    Usage,
)
from storage.sqlite.writer import SqliteStore
from storage.sqlite.writer_client import NOT_RUNNING, Reply, What, WriterProcess

_MAX_CLOSING_S, _MAX_ENDING_S = 2.0, 4.0
"""What connections that read get to be closed, and the process that writes to end."""

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


class StoreApart:
    """An `EventStore` in one SQLite file whose `append` and `ping` are done by a process.

    No call takes longer than both timeouts together, as long as this process runs: after that it
    raises `StorageUnavailable`, or `OutcomeUnknown` if it is an append that the process had. An
    append that has another before it gets its time when that is done.

    Args:
        path: the database file; made if it is not there, its directory must be.
        busy_timeout_ms: how long to wait for another process's write lock, in milliseconds.
        command_timeout_ms: how long SQLite and the disk may take besides, in milliseconds.
        on_text: told the tracebacks of errors in the process that nobody foresaw, and all else
            that it writes to its standard error; logged if it is not given.
    """

    backend = SqliteStore.backend

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_ms: int,
        command_timeout_ms: int = 30_000,
        on_text: Callable[[str], object] = _log.error,
    ) -> None:
        self.on_warning: Callable[[str], object] = lambda _sentence: None
        self._path = path
        self._busy_timeout_ms = busy_timeout_ms
        self._limit_s = (busy_timeout_ms + command_timeout_ms) / 1000
        self._closing_s = min(_MAX_CLOSING_S, self._limit_s)
        self._ending_s = min(_MAX_ENDING_S, self._limit_s)
        self._on_text = on_text
        self._reader = SqliteStore(path, busy_timeout_s=busy_timeout_ms / 1000)
        self._process: WriterProcess | None = None
        self._opened = False
        self._starting: asyncio.Task[None] | None = None
        """Opens all of it, or starts the process anew; whoever needs that waits for the same."""
        self._closing: asyncio.Task[None] | None = None
        self._reading: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """See `EventStore.open`."""
        await self._attempt(self._open)

    async def append(self, batch: Sequence[Event]) -> Appended:
        """See `EventStore.append`."""
        self._check()
        reply = await self._ask("append", batch)
        return Appended(reply.verdicts, reply.commit_s)

    async def ping(self) -> None:
        """See `EventStore.ping`; starts the process anew if it is gone."""
        if not self._opened or (self._process is not None and self._process.takes_more):
            self._check()
            await self._ask("ping")
        else:
            # Opening the file proves what a ping does.
            await self._attempt(self._restart)
            self._check()

    async def read(self, query: Query) -> Page:
        """See `EventStore.read`."""
        return await self._read(self._reader.read(query))

    async def get(
        self, topic: str, event_id: str, *, max_payload_bytes: int = LARGEST_PAYLOAD_BYTES
    ) -> LogEvent | None:
        """See `EventStore.get`."""
        read = self._reader.get(topic, event_id, max_payload_bytes=max_payload_bytes)
        return await self._read(read)

    async def heads(self, topics: Sequence[str]) -> Mapping[str, int]:
        """See `EventStore.heads`."""
        return await self._read(self._reader.heads(topics))

    async def stats(
        self, *, topic: str | None = None, after: str = "", limit: int = TOPICS_PER_PAGE
    ) -> Stats:
        """See `EventStore.stats`."""
        return await self._read(self._reader.stats(topic=topic, after=after, limit=limit))

    async def usage(self) -> Usage:
        """See `EventStore.usage`."""
        return await self._reader.usage()

    async def aclose(self) -> None:
        """See `EventStore.aclose`; what takes longer than a few seconds is given up."""
        self._opened = False
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting], timeout=self._closing_s)
            if not self._starting.done():
                # What it opened it closes itself, when its disk answers.
                await self._end_process()
                return
        await self._close()

    def abandon(self) -> None:
        """See `EventStore.abandon`: the process that writes is killed."""
        if self._process is not None:
            self._process.abandon()

    def _check(self) -> None:
        # Whoever came upon it: on a damaged index a sound batch might get a wrong verdict.
        if self._reader.damage is not None:
            raise StorageUnavailable(self._reader.damage)

    async def _ask(self, what: What, batch: Sequence[Event] = ()) -> Reply:
        if self._process is None:
            raise StorageUnavailable(NOT_RUNNING)
        return await self._process.ask(what, batch)

    def _note(self, answered: Reply) -> None:
        # Kept here, for the process that found it may be replaced.
        self._reader.damage = self._reader.damage or answered.damage

    async def _attempt(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin it, unless something is being started, and wait, but not for good."""
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(begin(), name="sqlite-start")
            # Nobody may be there any more to be told of a failure.
            self._starting.add_done_callback(lambda done: done.cancelled() or done.exception())
        starting = self._starting
        await asyncio.wait([starting], timeout=self._limit_s)
        if not starting.done():
            raise StorageUnavailable(
                f"{str(self._path)!r} could not be opened within {self._limit_s:g} s: see whether "
                "its disk answers"
            )
        if starting.cancelled():
            raise StorageUnavailable(NOT_RUNNING)
        starting.result()

    async def _open(self) -> None:
        self._opened = False
        if not await self._close():
            raise StorageUnavailable(
                f"{str(self._path)!r} is still being closed: see whether its disk answers"
            )
        try:
            await self._reader.open()
            await self._start()
        except Exception:
            await self._close()
            raise
        self._opened = True

    async def _restart(self) -> None:
        if self._process is not None and not await self._process.end(self._ending_s):
            # Others beside it would do no harm, since the file's locks keep them apart; but they
            # would hang as it does, one more with every attempt.
            raise StorageUnavailable(
                f"the process that stored (pid {self._process.pid}) was killed and hangs in the "
                f"kernel: see whether the disk of {str(self._path)!r} answers"
            )
        await self._start()

    async def _start(self) -> None:
        process = self._process = WriterProcess(
            self._path,
            busy_timeout_ms=self._busy_timeout_ms,
            limit_s=self._limit_s,
            on_answer=self._note,
            on_text=self._on_text,
        )
        try:
            await process.start()
            await process.ask("open")
        except Exception as error:
            await process.end(self._ending_s)
            if isinstance(error, OSError):
                raise StorageUnavailable(f"can't start the process that stores: {error}") from error
            raise

    async def _close(self) -> bool:
        """Close all of it, as far as that can be done in time; whether it is."""
        # The last one on a database tidies up after all; that is for the one that wrote.
        if self._closing is None or self._closing.done():
            self._closing = asyncio.create_task(self._reader.aclose(), name="sqlite-close")
        await asyncio.wait([self._closing], timeout=self._closing_s)
        ended = await self._end_process()
        if not self._closing.done():
            return False
        self._closing.result()
        return ended

    async def _end_process(self) -> bool:
        if self._process is not None and not await self._process.end(self._ending_s):
            return False
        self._process = None
        return True

    async def _read(self, work: Coroutine[Any, Any, Result]) -> Result:
        reading = asyncio.create_task(work)
        self._reading.add(reading)
        reading.add_done_callback(self._forget)
        try:
            await asyncio.wait([reading], timeout=self._limit_s)
            if not reading.done():
                raise StorageUnavailable(
                    f"{str(self._path)!r} could not be read within {self._limit_s:g} s: see "
                    "whether its disk answers"
                )
            return reading.result()
        finally:
            # It gives its connection back when SQLite lets go of it.
            reading.cancel()

    def _forget(self, reading: asyncio.Task[Any]) -> None:
        self._reading.discard(reading)
        if not reading.cancelled():
            # Nobody may be there any more to be told of a failure.
            reading.exception()
