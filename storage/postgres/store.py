"""The Postgres store: for several aggregators on one database, and for production.

Two connections write, so that a batch can be decided while the one before it is stored (see
`storage.postgres.turn` and `storage.postgres.appender`). A few others read, each page from one
snapshot. One more changes subscriptions, so that publishes and acknowledgements do not wait for
each other. A lost connection is replaced at the next call. One that writes and one that reads will
do, where the server gives no more: then subscriptions are changed by those that write.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.errors import BatchRefused, StorageMisconfigured, StorageUnavailable
from storage.model import Appended, Event, Usage
from storage.postgres.appender import Appender
from storage.postgres.errors import SessionShared, terminate, translated
from storage.postgres.kept_connection import KeptConnection
from storage.postgres.pool import ConnectionPool
from storage.postgres.reading_sql import READING_SQL, ROW_DECODER
from storage.postgres.schema import first_schema, prepare
from storage.postgres.session import begin, check_separate_sessions, session_settings, start_session
from storage.postgres.subscription_settles import forget_settles
from storage.postgres.subscription_views import SubscriptionViews
from storage.postgres.subscriptions import apply
from storage.postgres.turn import TurnQueue
from storage.postgres.writer_registry import WriterRow
from storage.reading import log_reader
from storage.reading.statements import Row, Rows
from storage.subscriptions.commands import Command
from storage.subscriptions.outcomes import Outcome

_WRITERS = 2
_SUBSCRIBERS = 1

# The statements of commands have one plan, whatever their arguments. To make it anew each time
# takes twice as long as all else that they do.
_PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan"}
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_NEEDS_TWO = "an aggregator needs two connections at the least, one that writes and one that reads"


class PostgresStore(SubscriptionViews, log_reader.LogReader):
    """Store of a log in a Postgres database; an `EventStore`.

    Args:
        dsn: a connection URI, postgresql://user:password@host:port/database.
        readers: maximum number of connections that read; two more write, and one
            changes subscriptions.
        connect_timeout_s: how long to wait for a connection, in seconds.
        command_timeout_s: how long to wait for a statement, in seconds.
        schema: where the log is, or is to be made; None for the first that the role's
            `search_path` names.
    """

    backend = "postgres"
    sql = READING_SQL
    decoder = ROW_DECODER

    names_sql = "SELECT json_array_elements_text($1::text::json)"

    def __init__(
        self,
        dsn: str,
        *,
        readers: int = 4,
        connect_timeout_s: float = 5.0,
        command_timeout_s: float = 30.0,
        schema: str | None = None,
    ) -> None:
        super().__init__()
        self.on_warning: Callable[[str], object] = lambda _sentence: None
        self._dsn = dsn
        self._reader_count = readers
        self._connect_timeout_s = connect_timeout_s
        self._command_timeout_s = command_timeout_s
        self._configured_schema = self._schema = schema
        """The second is what sessions get: from the first of them on, the one that it found."""
        self._writers: ConnectionPool | None = None
        self._readers: ConnectionPool | None = None
        self._subscribers: ConnectionPool | None = None
        self._writer_row: WriterRow | None = None
        self._sessions_are_shared = False
        """Whether one was found not to be that of its connection alone, after it was checked."""
        self._turns = TurnQueue()
        self._appender = Appender()
        self._at_writer = 0
        """Calls that have, or wait for, a connection that writes."""

    async def open(self) -> None:
        """See `EventStore.open`."""
        await self.aclose()
        self._schema = self._configured_schema
        try:
            async with translated():
                warnings = await self._open()
        except BatchRefused as error:
            await self.aclose()
            raise StorageMisconfigured(f"can't set up the schema: {error}") from error
        except SessionShared as error:
            await self.aclose()
            raise StorageMisconfigured(str(error)) from error
        except BaseException:
            await self.aclose()
            raise
        for warning in warnings:
            self.on_warning(warning)

    async def _open(self) -> list[str]:
        self._writers = await self._pool(_WRITERS)
        async with self._writers.driver_pool.acquire() as writer:
            self._schema = self._schema or await first_schema(writer)
            try:
                async with translated():
                    self._readers = await self._pool(self._reader_count)
            except SessionShared:
                raise
            except StorageUnavailable as error:
                raise StorageUnavailable(f"{error}; {_NEEDS_TWO}") from error
            async with self._readers.driver_pool.acquire() as reader:
                await check_separate_sessions(writer, reader)
            named = self._configured_schema is not None
            warnings = await prepare(writer, self._schema, named=named)
        # It is opened when it is needed: most logs have no subscription.
        self._subscribers = await self._pool(
            _SUBSCRIBERS, KeptConnection, connect=False, settings=_PLANNED_ONCE
        )
        self._writer_row = WriterRow(partial(self._acquire, self._readers))
        await self._writer_row.insert()
        return warnings

    async def append(self, batch: Sequence[Event]) -> Appended:
        """See `EventStore.append`.

        Batches are begun in the order in which they are given. Mostly they are stored in it, too;
        but one may overtake another on its way to the server, and then that one is decided anew.
        """
        async with self._turns.next_turn() as turn, self._writer() as connection:
            return await self._appender.append(connection, batch, turn)

    async def usage(self) -> Usage:
        """See `EventStore.usage`."""
        async with self._acquire(self._readers) as connection:
            size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
        names = ("writers", "readers", "subscriptions")
        pools = zip(names, self._pools, strict=True)
        return Usage(size, {name: pool.usage() for name, pool in pools if pool})

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """See `SubscriptionStore.apply`."""
        async with self._subscriber() as connection:
            return await apply(connection, commands)

    async def forget_settles(self, limit: int) -> bool:
        """See `SubscriptionStore.forget_settles`: beside the commands, which do not wait for it."""
        async with self._acquire(self._readers) as connection:
            return await forget_settles(connection, limit)

    async def ping(self) -> None:
        """See `EventStore.ping`: asks on a connection that writes, unless one is at work."""
        if self._sessions_are_shared:
            await self._check_sessions()
        if self._at_writer and self._readers and self._readers.all_in_use:
            # They have the database in reach, or will fail; to wait for one would be to wait
            # for those who read, and they must not stop those who write.
            return
        pool = self._acquire(self._readers) if self._at_writer else self._writer()
        async with pool as connection:
            read_only = await connection.fetchval(
                "SHOW transaction_read_only", timeout=self._connect_timeout_s
            )
        if read_only == "on":
            # Of the hosts that a DSN names, another one may accept writes by now.
            await self._expire()
            raise StorageUnavailable("Postgres: the database is read-only")

    async def _check_sessions(self) -> None:
        """Check new sessions after one was found to be shared: by now that may be mended."""
        await self._expire()
        async with self._writer() as writer, self._acquire(self._readers) as reader:
            await check_separate_sessions(writer, reader)
        self._sessions_are_shared = False

    async def _expire(self) -> None:
        for pool in self._pools:
            if pool is not None:
                await pool.expire_connections()

    async def aclose(self) -> None:
        """See `EventStore.aclose`."""
        pools = self._pools
        self._writers = self._readers = self._subscribers = None
        row, self._writer_row = self._writer_row, None
        self._sessions_are_shared = False
        try:
            if row is not None:
                await row.delete()
        finally:
            await asyncio.gather(*(pool.close() for pool in pools if pool is not None))

    def abandon(self) -> None:
        """See `EventStore.abandon`: the server ends the sessions of a client that is gone."""

    @asynccontextmanager
    async def _writer(self) -> AsyncGenerator[PoolConnectionProxy, None]:
        self._at_writer += 1
        try:
            async with self._acquire(self._writers) as connection:
                yield connection
        finally:
            self._at_writer -= 1

    @asynccontextmanager
    async def _subscriber(self) -> AsyncGenerator[PoolConnectionProxy, None]:
        """Lend the connection that changes subscriptions; if it can't be had, one that writes."""
        pool = self._subscribers
        lent = self._acquire(pool) if pool is None or await pool.is_open() else self._writer()
        async with lent as connection:
            yield connection

    @asynccontextmanager
    async def _acquire(
        self, pool: ConnectionPool | None
    ) -> AsyncGenerator[PoolConnectionProxy, None]:
        if pool is None:
            raise StorageUnavailable("Postgres: not connected yet")
        try:
            async with translated():
                connection = await pool.acquire()
                try:
                    yield connection
                except (TimeoutError, asyncio.CancelledError, SessionShared):
                    # To use it again, a second answer would have to be waited for as long; or
                    # it may be in a transaction of somebody else's session.
                    terminate(connection)
                    raise
                finally:
                    await pool.release(connection)
        except SessionShared:
            self._sessions_are_shared = True
            raise
        except StorageMisconfigured as error:
            # It was opened, so it may be mended while this runs; until then it is out of reach.
            raise StorageUnavailable(str(error)) from error

    @asynccontextmanager
    async def _reader(self) -> AsyncGenerator[Rows, None]:
        async with self._acquire(self._readers) as connection:

            async def rows(sql: str, arguments: Sequence[object]) -> Sequence[Row]:
                # A Record is a sequence, whatever its type says.
                return cast("Sequence[Row]", await connection.fetch(sql, *arguments))

            await begin(connection, _READ)
            try:
                yield rows
            except (TimeoutError, asyncio.CancelledError):
                raise
            except BaseException:
                # It may be closed by now; the error on its way must not be replaced by that.
                with suppress(asyncpg.InterfaceError):
                    await connection.execute("ROLLBACK")
                raise
            await connection.execute("ROLLBACK")

    @property
    def _pools(self) -> Sequence[ConnectionPool | None]:
        return self._writers, self._readers, self._subscribers

    async def _pool(
        self,
        max_size: int,
        pool_class: type[ConnectionPool] = ConnectionPool,
        *,
        connect: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> ConnectionPool:
        return await pool_class.open(
            self._dsn,
            max_size,
            connect_timeout_s=self._connect_timeout_s,
            command_timeout_s=self._command_timeout_s,
            start_session=partial(self._start_session, settings or {}),
            connect=connect,
        )

    async def _start_session(
        self, settings: Mapping[str, str], connection: asyncpg.Connection
    ) -> None:
        all_settings = {**session_settings(self._command_timeout_s), **settings}
        await start_session(connection, all_settings, self._schema)
