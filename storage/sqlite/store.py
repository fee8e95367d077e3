"""The SQLite store: reads in this process, and writes through one that does nothing else.

A Python process runs one thread at a time. A writing thread beside an event loop that parses and
answers gets its turn late, statement by statement, and each turn costs both of them; measured,
that was most of what storing single events took. So batches go to a process of their own. See
`docs/understand/decisions/0015-sqlite-is-written-by-a-process.md`.

The writer process ends when this one does, however it does: its end of the connection is closed
then. If it is the first to end, or is killed because it took too long, the batches that it had
have an unknown outcome, and the next `ping` starts another.

Reading can hang in the kernel as well, in a thread that nobody can end. So callers wait for a
limited time, and nothing is begun a second time beside a call that hangs.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from storage.errors import StorageUnavailable
from storage.model import (
    LARGEST_PAYLOAD_BYTES,
    TOPICS_PER_PAGE,
    Appended,
    Encoded,
    Event,
    EventColumns,
    Page,
    Query,
    Stats,
    Usage,
)
from storage.sqlite.damage import DamageRecord
from storage.sqlite.file_guard import FileIdentities
from storage.sqlite.reader import SqliteReader
from storage.sqlite.store_subscriptions import SqliteSubscriptions
from storage.sqlite.writer_client import NOT_RUNNING, WriterProcess

_MAX_CLOSING_S, _MAX_ENDING_S = 2.0, 4.0
"""Time limits for closing the connections that read, and for the end of the writer process."""

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


class SqliteStore(SqliteSubscriptions):
    """An `EventStore` in one SQLite file: a reader, and the client of a writer process.

    No call takes longer than both timeouts together, as long as this process runs: after that it
    raises `StorageUnavailable`, or `OutcomeUnknown` if it is an append or are commands that were
    sent. The time of what has another before it begins when that is done.

    Args:
        path: the database file; made if it is not there, its directory must be.
        busy_timeout_ms: how long to wait for another process's write lock, in milliseconds.
        command_timeout_ms: how long SQLite and the disk may take besides, in milliseconds.
        readers: how many reads may go on at once.
        on_warning: callback with a sentence for the operator.
        on_process_output: callback with each text that the writer process writes to its standard
            error, and with the traceback of each unexpected error there.
    """

    backend = "sqlite"

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_ms: int,
        command_timeout_ms: int = 30_000,
        readers: int = 2,
        on_warning: Callable[[str], object] = _log.warning,
        on_process_output: Callable[[str], object] = _log.error,
    ) -> None:
        self.on_warning = on_warning
        self.on_process_output = on_process_output
        self._path = path
        self._busy_timeout_ms = busy_timeout_ms
        self._limit_s = (busy_timeout_ms + command_timeout_ms) / 1000
        self._closing_s = min(_MAX_CLOSING_S, self._limit_s)
        self._ending_s = min(_MAX_ENDING_S, self._limit_s)
        self._damage = DamageRecord(path)
        self._reader = SqliteReader(
            path,
            busy_timeout_s=busy_timeout_ms / 1000,
            damage=self._damage,
            max_connections=readers,
        )
        self._writer_id = ""
        """Names it in the table of writers from one `open` to the next."""
        self._process: WriterProcess | None = None
        self._opened = False
        self._starting: asyncio.Task[None] | None = None
        """Opens all of it, or starts the process anew; all who need that wait for the same task."""
        self._closing: asyncio.Task[None] | None = None
        self._reading: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """See `EventStore.open`."""
        await self._attempt(self._open)

    async def append(self, batch: Sequence[Event]) -> Appended:
        """See `EventStore.append`."""
        return await self._writer().append(batch)

    async def ping(self) -> None:
        """See `EventStore.ping`; starts the process anew if it is gone."""
        if not self._opened or (self._process is not None and self._process.is_connected):
            await self._writer().ping()
        else:
            # Opening the file proves what a ping does.
            await self._attempt(self._restart)
            self._damage.check()

    async def read(self, query: Query, encode: Callable[[EventColumns], Encoded]) -> Page[Encoded]:
        """See `EventStore.read`."""
        return await self._read(self._reader.read(query, encode))

    async def get(
        self, topic: str, event_id: str, *, max_payload_bytes: int = LARGEST_PAYLOAD_BYTES
    ) -> EventColumns | None:
        """See `EventStore.get`."""
        read = self._reader.get(topic, event_id, max_payload_bytes=max_payload_bytes)
        return await self._read(read)

    async def heads(self, topics: Sequence[str]) -> Mapping[str, int]:
        """See `EventStore.heads`."""
        return await self._read(self._reader.heads(topics))

    async def heads_by_prefix(
        self, prefix: str, *, after: str | None = None, limit: int = TOPICS_PER_PAGE
    ) -> Mapping[str, int]:
        """See `EventStore.heads_by_prefix`."""
        return await self._read(self._reader.heads_by_prefix(prefix, after=after, limit=limit))

    async def first_offset(self, topic: str, time_us: int) -> int:
        """See `EventStore.first_offset`."""
        return await self._read(self._reader.first_offset(topic, time_us))

    async def offsets_of_source(
        self, topic: str, source: str, first: int, last: int
    ) -> Sequence[tuple[int, int]]:
        """See `EventStore.offsets_of_source`."""
        return await self._read(self._reader.offsets_of_source(topic, source, first, last))

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
        """See `EventStore.abandon`: the writer process is killed."""
        if self._process is not None:
            self._process.abandon()

    def _writer(self) -> WriterProcess:
        # Whichever side found it: on a damaged index a sound batch might get a wrong verdict.
        self._damage.check()
        if self._process is None:
            raise StorageUnavailable(NOT_RUNNING)
        return self._process

    async def _attempt(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin it, unless something is being started, and wait, but not for good."""
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(begin(), name="sqlite-start")
            # Nobody may wait for it any more, and an exception that nobody fetches is logged.
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
        self._damage.clear()
        self._writer_id = str(uuid4())
        try:
            # The writer makes the file, and both sides then hold on to the same ones.
            await self._reader.open(await self._start())
        except Exception:
            await self._close()
            raise
        self._opened = True

    async def _restart(self) -> None:
        if self._process is not None and not await self._process.end(self._ending_s):
            # Others beside it would do no harm, since the file's locks keep them apart; but they
            # would hang as it does, one more with every attempt.
            raise StorageUnavailable(
                f"the SQLite writer process (pid {self._process.pid}) was killed and hangs in the "
                f"kernel: see whether the disk of {str(self._path)!r} answers"
            )
        self._reader.files.check()
        await self._start(self._reader.files.identities)

    async def _start(self, expected: FileIdentities = ()) -> FileIdentities:
        """Start a writer process and have it open the file; return the files that it opened."""
        process = self._process = WriterProcess(
            self._path,
            busy_timeout_ms=self._busy_timeout_ms,
            limit_s=self._limit_s,
            # Kept here, for the process that found it may be replaced.
            on_damage=self._damage.adopt,
            on_process_output=self.on_process_output,
        )
        try:
            await process.start()
            return await process.open(self._writer_id, _program(), expected)
        except Exception as error:
            await process.end(self._ending_s)
            if isinstance(error, OSError):
                raise StorageUnavailable(
                    f"can't start the SQLite writer process: {error}"
                ) from error
            raise

    async def _close(self) -> bool:
        """Close all of it, as far as that can be done in time; return whether it is closed."""
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
            # Nobody may wait for it any more, and an exception that nobody fetches is logged.
            reading.exception()


@cache
def _program() -> str:
    """Return the version of this program."""
    try:
        return metadata.version("pubsub-log-aggregator")
    except metadata.PackageNotFoundError:
        return "unknown"
