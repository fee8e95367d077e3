"""The SQLite store: one file in WAL mode, for one machine.

One connection writes (see `storage.sqlite_writer`), a few others read; WAL lets them work
side by side, and any number of processes may share the file. `synchronous=FULL` makes a
commit survive power loss.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

from storage import reading, sqlite_writer
from storage.errors import StorageMisconfigured, StorageUnavailable
from storage.migrations import pending
from storage.model import Event, Verdict

APPLICATION_ID = 0x45564C47
"""Marks a file as this program's ("EVLG"), so that no other program's is ever written to."""

_MIN_VERSION = (3, 38, 0)

_SETTINGS = """
PRAGMA synchronous = FULL;
PRAGMA cache_size = -65536;
PRAGMA wal_autocheckpoint = 4000;
PRAGMA journal_size_limit = 67108864;
"""

_WHOSE_FILE = (
    "SELECT application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id"
)

_ROWS_A_HOP = 64


class SqliteStore(reading.LogReader):
    """An `EventStore` in one SQLite file.

    Args:
        path: the database file; made if it is not there, its directory must be.
        busy_timeout_s: how long to wait for another process's write lock, in seconds.
        readers: connections that read.
    """

    backend = "sqlite"

    def __init__(self, path: Path, *, busy_timeout_s: float = 10.0, readers: int = 2) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._reader_count = readers
        self._thread: ThreadPoolExecutor | None = None
        self._writer: sqlite3.Connection | None = None
        self._readers: list[aiosqlite.Connection] = []
        self._idle: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        self._probe_writable: aiosqlite.Connection | None = None
        self._ping_lock = asyncio.Lock()

    async def open(self) -> None:
        """See `EventStore.open`."""
        await self.aclose()
        if sqlite3.sqlite_version_info < _MIN_VERSION:
            raise StorageMisconfigured(
                f"this Python has SQLite {sqlite3.sqlite_version}; 3.38 or newer is needed"
            )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-writer")
        try:
            loop = asyncio.get_running_loop()
            self._writer = await loop.run_in_executor(self._thread, self._open_writer)
            for _ in range(self._reader_count):
                reader = await self._connect_reader(self._busy_timeout_s)
                self._readers.append(reader)
                self._idle.put_nowait(reader)
            self._probe_writable = await self._connect_reader(0.0)
        except sqlite3.Error as error:
            await self.aclose()
            raise sqlite_writer.translate(error) from error
        except BaseException:
            await self.aclose()
            raise

    async def append(self, batch: Sequence[Event]) -> list[Verdict]:
        """See `EventStore.append`. Once begun, the transaction runs to its end."""
        if self._thread is None or self._writer is None:
            raise StorageUnavailable("the SQLite store is not open")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, sqlite_writer.append, self._writer, batch)

    async def ping(self) -> None:
        """See `EventStore.ping`: takes the write lock and gives it back."""
        try:
            async with self._ping_lock:
                connection = self._probe_writable
                if connection is None:
                    raise StorageUnavailable("the SQLite store is not open")
                # In one hop: cancelled between the two, it would keep the lock for good.
                await connection.executescript(f"{sqlite_writer.BEGIN}; ROLLBACK")
        except sqlite3.Error as error:
            # Somebody is writing right now: that is what a working database looks like.
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                raise sqlite_writer.translate(error) from error

    async def aclose(self) -> None:
        """See `EventStore.aclose`."""
        readers, self._readers = self._readers, []
        for _ in readers:
            # A read under way gives its connection back first.
            reader = await self._idle.get()
            await reader.close()
        async with self._ping_lock:
            probe, self._probe_writable = self._probe_writable, None
            if probe is not None:
                await probe.close()
        thread, writer = self._thread, self._writer
        self._thread = self._writer = None
        if thread is not None:
            if writer is not None:
                await asyncio.get_running_loop().run_in_executor(thread, writer.close)
            thread.shutdown()

    @asynccontextmanager
    async def _reader(self) -> AsyncGenerator[reading.Rows, None]:
        if not self._readers:
            raise StorageUnavailable("the SQLite store is not open")
        idle = self._idle
        connection = await idle.get()

        async def rows(sql: str, args: Sequence[object]) -> AsyncGenerator[reading.Row, None]:
            named = {str(number): value for number, value in enumerate(args, start=1)}
            async with connection.execute(sql, named) as cursor:
                while part := await cursor.fetchmany(_ROWS_A_HOP):
                    for row in part:
                        yield row

        try:
            yield rows
        except sqlite3.Error as error:
            raise sqlite_writer.translate(error) from error
        finally:
            idle.put_nowait(connection)

    async def _connect_reader(self, timeout_s: float) -> aiosqlite.Connection:
        connection = aiosqlite.connect(self._path, timeout=timeout_s, isolation_level=None)
        return await connection

    def _open_writer(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._path,
                timeout=self._busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=sqlite_writer.PREPARED_STATEMENTS,
            )
        except sqlite3.Error as error:
            raise StorageMisconfigured(f"can't open {str(self._path)!r}: {error}") from error
        try:
            _prepare(connection, self._path)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the file is ours or empty, set it up, and bring its schema up to date."""
    try:
        # One statement, one snapshot: another aggregator may be creating the schema right now.
        application_id, tables = connection.execute(_WHOSE_FILE).fetchone()
        if application_id != APPLICATION_ID and (application_id or tables):
            raise StorageMisconfigured(
                f"{str(path)!r} is a SQLite database of another program; choose another file"
            )
        connection.execute("PRAGMA page_size = 8192")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StorageMisconfigured(
                f"{str(path)!r} can't be put into WAL mode (it stays in {mode!r} mode): "
                "use a file on a local disk"
            )
        connection.executescript(_SETTINGS)
        _migrate(connection)
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
            raise StorageMisconfigured(f"can't use {str(path)!r}: {error}") from error
        raise


def _migrate(connection: sqlite3.Connection) -> None:
    # The write lock is what keeps two aggregators that start together apart.
    connection.execute(sqlite_writer.BEGIN)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in pending("sqlite", version):
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step.version}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    # executescript() would commit first, and end the lock with it.
    statements: list[str] = []
    text = ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            statements.append(text)
            text = ""
    return statements
