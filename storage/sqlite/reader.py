"""The reading side of a SQLite log: a few connections that only read.

WAL lets them work beside the one that writes, which is another process's (see
`storage.sqlite.writer_process`). While one of the files is not the one that was opened, nothing is
read (see `storage.sqlite.file_guard`).
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

from storage.errors import StorageUnavailable
from storage.model import Pool, Usage
from storage.reading.log_reader import LogReader
from storage.reading.statements import Rows
from storage.sqlite.damage import DamageRecord
from storage.sqlite.file_guard import FileGuard, FileIdentities
from storage.sqlite.reader_connection import connect_reader, rows_of
from storage.sqlite.reading_sql import READING_SQL, ROW_DECODER
from storage.sqlite.subscription_views import SubscriptionViews
from storage.sqlite.transaction import translate

_NOT_OPEN = "the SQLite store is not open"


class SqliteReader(LogReader, SubscriptionViews):
    """An `EventReader` of one SQLite file, and the looks at its subscriptions.

    Args:
        path: the database file.
        busy_timeout_s: how long to wait for a lock, in seconds.
        damage: the record of what is found wrong with the file.
        max_connections: how many reads may go on at once.
    """

    sql = READING_SQL
    decoder = ROW_DECODER
    names_sql = "SELECT value FROM json_each($1)"

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_s: float,
        damage: DamageRecord | None = None,
        max_connections: int = 2,
    ) -> None:
        super().__init__()
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._max_connections = max_connections
        self.damage = damage or DamageRecord(path)
        self.files = FileGuard(path)
        """The guard of the files, as the writer opened them."""
        self._connections: list[aiosqlite.Connection] = []
        self._idle: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()

    async def open(self, files: FileIdentities) -> None:
        """Open the file that a writer has opened.

        Args:
            files: the files that the writer opened; others are not read.

        Raises:
            StorageUnavailable: out of reach now, or not those files.
        """
        await self.aclose()
        self.files = FileGuard(self._path)
        try:
            self.files.expect(files)
            for _ in range(self._max_connections):
                connection = await connect_reader(self._path, self.files, self._busy_timeout_s)
                self._connections.append(connection)
                self._idle.put_nowait(connection)
            self.files.check()
        except sqlite3.Error as error:
            await self.aclose()
            raise translate(error) from error
        except BaseException:
            await self.aclose()
            raise

    async def usage(self) -> Usage:
        """See `StoreLifecycle.usage`; the size is that of the file and its -wal."""
        if not self._connections:
            raise StorageUnavailable(_NOT_OPEN)
        in_use = len(self._connections) - self._idle.qsize()
        pool = Pool(in_use, len(self._connections))
        return Usage(self.files.size(), {"readers": pool})

    async def aclose(self) -> None:
        """Close every connection, behind the reads under way. Idempotent."""
        connections, self._connections = self._connections, []
        for _ in connections:
            # A read under way gives its connection back first.
            connection = await self._idle.get()
            await connection.close()

    @asynccontextmanager
    async def _reader(self) -> AsyncGenerator[Rows, None]:
        async with self._lent() as connection:
            yield rows_of(connection)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncGenerator[Rows, None]:
        async with self._lent() as connection:
            rows = rows_of(connection)
            try:
                await rows("BEGIN", ())
                yield rows
            finally:
                # In its thread behind whatever was begun there, also if nobody waits any more.
                await connection.rollback()

    @asynccontextmanager
    async def _lent(self) -> AsyncGenerator[aiosqlite.Connection, None]:
        if not self._connections:
            raise StorageUnavailable(_NOT_OPEN)
        idle = self._idle
        connection = await idle.get()
        try:
            self.files.check()
            yield connection
            self.files.check()
        except sqlite3.Error as error:
            self.damage.inspect(error)
            raise translate(error) from error
        finally:
            idle.put_nowait(connection)
