"""The Postgres store: for several aggregators on one database, and for production.

Two connections write, so that a batch can be decided while the one before it is stored (see
`storage.postgres_ahead` and `storage.postgres_writer`). A few others read, each page from one
snapshot. A lost connection is replaced at the next call.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import cast

import asyncpg

from storage import reading
from storage.chunks import PayloadSql, Row, Rows
from storage.errors import BatchRefused, StorageMisconfigured, StorageUnavailable
from storage.migrations import pending
from storage.model import Event, Pool, Usage, Verdict
from storage.postgres_ahead import Ahead
from storage.postgres_errors import terminate, translated
from storage.postgres_sessions import session_settings, start_session

_MIGRATION_LOCK = 0x45564C47
_WRITERS = 2


class PostgresStore(reading.LogReader):
    """An `EventStore` in a Postgres database.

    Args:
        dsn: a connection URI, postgresql://user:password@host:port/database.
        readers: connections that read, at most; two more write.
        connect_timeout_s: how long to wait for a connection, in seconds.
        command_timeout_s: how long to wait for a statement, in seconds.
    """

    backend = "postgres"
    # json_send() gives the text as it is stored; a cast to text would print and parse it. A large
    # one is not fetched from where it is kept apart, and decompressed, to be measured.
    payload_sql = PayloadSql(
        value="json_send(payload)",
        length="octet_length(json_send(payload))",
        # A value is kept with a header of up to 4 bytes.
        small="pg_column_size(payload) - 4 <= {most} "
        "AND octet_length(json_send(payload)) <= {most}",
    )

    def __init__(
        self,
        dsn: str,
        *,
        readers: int = 4,
        connect_timeout_s: float = 5.0,
        command_timeout_s: float = 30.0,
    ) -> None:
        self.on_commit: Callable[[float], object] = lambda _seconds: None
        self._dsn = dsn
        self._reader_count = readers
        self._connect_timeout_s = connect_timeout_s
        self._command_timeout_s = command_timeout_s
        self._writers: asyncpg.Pool | None = None
        self._readers: asyncpg.Pool | None = None
        self._turn = asyncio.Lock()
        self._ahead = Ahead()
        self._at_writer = 0
        """Calls that have, or wait for, the connection that writes."""

    async def open(self) -> None:
        """See `EventStore.open`."""
        await self.aclose()
        try:
            async with translated():
                self._writers = await self._pool(_WRITERS)
                async with self._writers.acquire() as connection:
                    await _prepare(connection)
                self._readers = await self._pool(self._reader_count)
        except BatchRefused as error:
            await self.aclose()
            raise StorageMisconfigured(f"can't set up the schema: {error}") from error
        except BaseException:
            await self.aclose()
            raise

    async def append(self, batch: Sequence[Event]) -> list[Verdict]:
        """See `EventStore.append`.

        Batches are stored in the order in which they are given, unless one of them fails or
        another store comes between them.
        """
        await self._turn.acquire()
        with ExitStack() as turn:
            turn.callback(self._turn.release)
            async with self._writer() as connection:
                # The next one may begin once it is known what this one leaves behind.
                return await self._ahead.append(
                    connection, batch, on_decided=turn.close, on_commit=self.on_commit
                )

    async def usage(self) -> Usage:
        """See `EventStore.usage`."""
        async with self._acquire(self._readers) as connection:
            size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
        pools = {"writers": self._writers, "readers": self._readers}
        return Usage(size, {name: _pool_of(pool) for name, pool in pools.items() if pool})

    async def ping(self) -> None:
        """See `EventStore.ping`: asks on the connection that writes, unless it is at work."""
        if self._at_writer and _all_in_use(self._readers):
            # They have the database in reach, or will tell; to wait for one would be to wait
            # for those who read, and they must not stop those who write.
            return
        async with self._acquire(self._readers) if self._at_writer else self._writer() as asked:
            read_only = await asked.fetchval(
                "SHOW transaction_read_only", timeout=self._connect_timeout_s
            )
        if read_only == "on":
            # Of the hosts that a DSN names, another one may take events by now.
            for pool in (self._writers, self._readers):
                if pool is not None:
                    await pool.expire_connections()
            raise StorageUnavailable("Postgres: the database is read-only")

    async def aclose(self) -> None:
        """See `EventStore.aclose`."""
        pools, self._writers, self._readers = (self._writers, self._readers), None, None
        await asyncio.gather(*(self._close(pool) for pool in pools if pool is not None))

    def abandon(self) -> None:
        """See `EventStore.abandon`: the server ends the sessions of a client that is gone."""

    async def _close(self, pool: asyncpg.Pool) -> None:
        try:
            await asyncio.wait_for(pool.close(), self._connect_timeout_s)
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def _writer(self) -> AsyncGenerator[asyncpg.pool.PoolConnectionProxy, None]:
        self._at_writer += 1
        try:
            async with self._acquire(self._writers) as connection:
                yield connection
        finally:
            self._at_writer -= 1

    @asynccontextmanager
    async def _acquire(
        self, pool: asyncpg.Pool | None
    ) -> AsyncGenerator[asyncpg.pool.PoolConnectionProxy, None]:
        if pool is None:
            raise StorageUnavailable("Postgres: not connected yet")
        async with translated(), pool.acquire(timeout=self._connect_timeout_s) as connection:
            try:
                yield connection
            except (TimeoutError, asyncio.CancelledError):
                # To use it again, a second answer would have to be waited for as long.
                terminate(connection)
                raise

    @asynccontextmanager
    async def _reader(self) -> AsyncGenerator[Rows, None]:
        async with self._acquire(self._readers) as connection:

            async def rows(sql: str, arguments: Sequence[object]) -> Sequence[Row]:
                # A Record is a sequence, whatever its type says.
                return cast("Sequence[Row]", await connection.fetch(sql, *arguments))

            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            try:
                yield rows
            except (TimeoutError, asyncio.CancelledError):
                raise
            except BaseException:
                # It may be closed by now; what is being told must not be replaced by that.
                with suppress(asyncpg.InterfaceError):
                    await transaction.rollback()
                raise
            await transaction.rollback()

    async def _pool(self, size: int) -> asyncpg.Pool:
        # Of its own accord a pool connects again in the background, and logs each failure.
        pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=size,
            timeout=self._connect_timeout_s,
            command_timeout=self._command_timeout_s,
            server_settings=session_settings(self._command_timeout_s),
            init=start_session,
            reset=_keep_session,
        )
        try:
            async with pool.acquire(timeout=self._connect_timeout_s):
                return pool
        except asyncpg.ClientConfigurationError as error:
            raise StorageMisconfigured(f"the DSN can't be used: {error}") from error
        except ValueError as error:
            # Its text may be a piece of the password.
            raise StorageMisconfigured("the DSN can't be used: it is not a valid URI") from error


async def _keep_session(_connection: asyncpg.Connection) -> None:
    # Nothing is set on a connection but what it starts with. The driver's own reset would cost
    # a round trip a batch, and its failure would make an error of a batch that is committed.
    # An open transaction is rolled back by the driver before this is called.
    return


async def _prepare(connection: asyncpg.pool.PoolConnectionProxy) -> None:
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StorageMisconfigured(
            f"the Postgres database has encoding {encoding}, which can't hold every event: "
            "create one with ENCODING 'UTF8'"
        )
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS aggregator_schema "
            "(version integer NOT NULL PRIMARY KEY, "
            "applied_at timestamptz NOT NULL DEFAULT now())"
        )
        version = await connection.fetchval(
            "SELECT coalesce(max(version), 0) FROM aggregator_schema"
        )
        for step in pending("postgres", version):
            await connection.execute(step.sql)
            await connection.execute(
                "INSERT INTO aggregator_schema (version) VALUES ($1)", step.version
            )


def _pool_of(pool: asyncpg.Pool) -> Pool:
    return Pool(pool.get_size() - pool.get_idle_size(), pool.get_max_size())


def _all_in_use(pool: asyncpg.Pool | None) -> bool:
    return pool is not None and pool.get_size() - pool.get_idle_size() == pool.get_max_size()
