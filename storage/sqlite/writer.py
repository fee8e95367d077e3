"""The SQLite store: one file in WAL mode, for one machine.

One connection writes (see `storage.sqlite.transaction`), a few others read; WAL lets them work
side by side, and any number of processes may share the file. `synchronous=FULL` makes a
commit survive power loss.

While one of the files is not the one that was opened (see `storage.sqlite.file_guard`), nothing is
written and nothing is read. Once SQLite has found the database damaged, nothing is written
until it is opened anew: on a damaged index even a sound batch might get a wrong verdict. Reads
go on as far as they can.
"""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import aiosqlite

from storage.errors import OutcomeUnknown, StorageMisconfigured, StorageUnavailable
from storage.model import Appended, Event, Pool, Usage
from storage.reading import log_reader
from storage.reading.page_fetch import PayloadSql, Rows
from storage.sqlite import transaction as sqlite_transaction
from storage.sqlite.checkpointer import CHECKPOINT, Checkpointer
from storage.sqlite.file_guard import FileGuard, GuardedConnection
from storage.sqlite.reader_connection import connect_reader, rows_of
from storage.sqlite.schema import open_writer

_MIN_VERSION = (3, 38, 0)
_NOT_OPEN = "the SQLite store is not open"

Result = TypeVar("Result")


class SqliteStore(log_reader.LogReader):
    """An `EventStore` in one SQLite file.

    Args:
        path: the database file; made if it is not there, its directory must be.
        busy_timeout_s: how long to wait for another process's write lock, in seconds.
        readers: connections that read.
    """

    backend = "sqlite"
    # octet_length() would not even read a long one, and is newer than SQLite 3.40.
    payload_sql = PayloadSql(
        value="CAST(payload AS BLOB)",
        length="length(CAST(payload AS BLOB))",
        small="length(CAST(payload AS BLOB)) <= {max_bytes}",
    )

    names_sql = "SELECT value FROM json_each($1)"

    def __init__(self, path: Path, *, busy_timeout_s: float = 10.0, readers: int = 2) -> None:
        self.on_warning: Callable[[str], object] = lambda _sentence: None
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._reader_count = readers
        self._files = FileGuard(path)
        self._thread: ThreadPoolExecutor | None = None
        self._writer: GuardedConnection | None = None
        self._writing = threading.Lock()
        """Held by whoever uses the connection that writes, or opens or closes it."""
        self._may_write = False
        """From open to close, whether there is such a connection at the moment or not; read and
        changed by whoever holds the lock."""
        self._doubted = False
        """Whether the last transaction failed: then only a commit proves that the next may not."""
        self.damage: str | None = None
        """What SQLite found wrong with the database since it was opened, and what to do."""
        self._readers: list[aiosqlite.Connection] = []
        self._idle: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        self._probe_writable: aiosqlite.Connection | None = None
        self._ping_lock = asyncio.Lock()
        self._checkpoints: Checkpointer | None = None

    async def open(self) -> None:
        """See `EventStore.open`."""
        await self.aclose()
        if sqlite3.sqlite_version_info < _MIN_VERSION:
            raise StorageMisconfigured(
                f"this Python has SQLite {sqlite3.sqlite_version}; 3.38 or newer is needed"
            )
        self._files, self._doubted, self.damage = FileGuard(self._path), False, None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-writer")
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._in_turn, self._open_writer)
            for _ in range(self._reader_count):
                reader = await self._connect_reader()
                self._readers.append(reader)
                self._idle.put_nowait(reader)
            self._probe_writable = await self._connect_reader()
            await self._probe_writable.execute("PRAGMA busy_timeout = 0")
            self._checkpoints = Checkpointer(
                await self._connect_reader(),
                check=self._check,
                finish=self._finish_checkpoint,
                on_failure=self._doubt,
            )
            self._files.check()
        except sqlite3.Error as error:
            await self.aclose()
            raise sqlite_transaction.translate(error) from error
        except BaseException:
            await self.aclose()
            raise

    async def append(self, batch: Sequence[Event]) -> Appended:
        """See `EventStore.append`. Once begun, the transaction runs to its end."""
        return await self._in_thread(self.append_here, batch)

    def append_here(self, batch: Sequence[Event]) -> Appended:
        """Do as `append` does, in the calling thread, which is not that of the event loop."""
        with self._writing:
            done = self._write(
                lambda writer: Appended(sqlite_transaction.append(writer, batch), writer.commit_s)
            )
            # Looked at once, for they may be gone the next time. The event loop that they are
            # told through is not: the end waits for this lock.
            checkpoints = self._checkpoints
            if checkpoints is not None:
                checkpoints.committed()
        return done

    async def ping(self) -> None:
        """See `EventStore.ping`: takes the write lock and gives it back.

        After a transaction that failed it does one that changes nothing: a full disk gives
        the lock as readily as any.
        """
        if self._doubted:
            await self._in_thread(self._in_turn, self._write, sqlite_transaction.prove)
            return
        try:
            async with self._ping_lock:
                connection = self._probe_writable
                if connection is None:
                    raise StorageUnavailable(_NOT_OPEN)
                self._check()
                # In one hop: cancelled between the two, it would keep the lock for good.
                await connection.executescript(f"{sqlite_transaction.BEGIN}; ROLLBACK")
        except sqlite3.Error as error:
            # Somebody is writing right now: that is what a working database looks like.
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                self._note(error)
                raise sqlite_transaction.translate(error) from error

    async def usage(self) -> Usage:
        """See `EventStore.usage`: of the file and its -wal, and of the connections that read."""
        if not self._readers:
            raise StorageUnavailable(_NOT_OPEN)
        in_use = len(self._readers) - self._idle.qsize()
        return Usage(self._files.size(), {"readers": Pool(in_use, len(self._readers))})

    async def aclose(self) -> None:
        """See `EventStore.aclose`."""
        checkpoints, self._checkpoints = self._checkpoints, None
        if checkpoints is not None:
            await checkpoints.aclose()
        readers, self._readers = self._readers, []
        for _ in readers:
            # A read under way gives its connection back first.
            reader = await self._idle.get()
            await reader.close()
        async with self._ping_lock:
            probe, self._probe_writable = self._probe_writable, None
            if probe is not None:
                await probe.close()
        thread, self._thread = self._thread, None
        if thread is not None:
            # Behind whatever is under way, cancelled or not.
            await asyncio.get_running_loop().run_in_executor(thread, self._in_turn, self._end)
            thread.shutdown()

    def abandon(self) -> None:
        """See `EventStore.abandon`: nothing runs elsewhere."""

    @asynccontextmanager
    async def _reader(self) -> AsyncGenerator[Rows, None]:
        if not self._readers:
            raise StorageUnavailable(_NOT_OPEN)
        idle = self._idle
        connection = await idle.get()
        try:
            self._files.check()
            yield rows_of(connection)
            self._files.check()
        except sqlite3.Error as error:
            self._note(error)
            raise sqlite_transaction.translate(error) from error
        finally:
            idle.put_nowait(connection)

    async def _connect_reader(self) -> aiosqlite.Connection:
        return await connect_reader(self._path, self._files, self._busy_timeout_s)

    def _check(self) -> None:
        if self.damage is not None:
            raise StorageUnavailable(self.damage)
        try:
            self._files.check()
        except StorageUnavailable:
            # It is the writer's thread that can save what the files still hold.
            self._doubted = True
            raise

    def _doubt(self, error: Exception) -> None:
        # The log goes on in the WAL; whether it can be written for long, the next ping proves.
        self._doubted = True
        self._note(error)

    def _note(self, error: BaseException | None) -> None:
        if self.damage is None and sqlite_transaction.tells_of_damage(error):
            self.damage = (
                f"the database file {str(self._path)!r} is damaged (SQLite: {error}), nothing more "
                "is stored in it: stop the aggregator, see what `python -m aggregator verify` "
                "finds, and restore the file"
            )

    async def _in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        if self._thread is None:
            raise StorageUnavailable(_NOT_OPEN)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, *arguments)

    async def _finish_checkpoint(self) -> None:
        if self._thread is not None:
            await self._in_thread(self._in_turn, self._copy_the_rest)

    # What follows runs in a thread, one at a time.

    def _in_turn(self, work: Callable[..., Result], *arguments: object) -> Result:
        with self._writing:
            return work(*arguments)

    def _copy_the_rest(self) -> None:
        if self._writer is not None:
            self._check()
            self._writer.execute(CHECKPOINT)

    def _open_writer(self) -> None:
        self._writer = open_writer(self._path, self._files, self._busy_timeout_s)
        self._files.note()
        self._may_write = True

    def _end(self) -> None:
        self._may_write = False
        self._close_writer()

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _write(self, work: Callable[[GuardedConnection], Result]) -> Result:
        if not self._may_write:
            raise StorageUnavailable(_NOT_OPEN)
        try:
            self._check()
            result = work(self._writer or self._reopen_writer())
        except BaseException as error:
            self._doubted |= isinstance(error, (StorageUnavailable, OutcomeUnknown))
            self._note(error.__cause__)
            self._save_what_can_be_saved()
            raise
        self._doubted = False
        return result

    def _save_what_can_be_saved(self) -> None:
        writer = self._writer
        if writer is None:
            return
        if sqlite_transaction.is_spent(writer):
            # Closing it ends its transaction; the next call opens another.
            self._close_writer()
        elif self._files.wal_is_orphaned():
            # What was acknowledged goes where the next start will find it.
            with suppress(sqlite3.Error):
                writer.execute("PRAGMA wal_checkpoint(FULL)")

    def _reopen_writer(self) -> GuardedConnection:
        try:
            self._writer = open_writer(self._path, self._files, self._busy_timeout_s)
        except StorageMisconfigured as error:
            raise StorageUnavailable(str(error)) from error
        except sqlite3.Error as error:
            raise sqlite_transaction.translate(error) from error
        return self._writer
