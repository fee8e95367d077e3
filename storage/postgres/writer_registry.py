"""The table of writers: one row for each open store, so that others see which versions write.

A rolling upgrade has an older and a newer aggregator on one database. Before a later version
changes the schema under the older one, it can look here. A row whose `seen_at` is old is that of a
writer that was killed, stopped, or cut off from the database. Nothing that is published waits for
this table, and no row of it has to survive a crash of the server: the next renewal brings it back.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from uuid import uuid4

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.errors import StorageError
from storage.migrations import migrations
from storage.postgres.commit import roll_back
from storage.postgres.session import begin

RENEWAL_S = 60.0
"""How often a row is renewed, in seconds."""

_DELETION_LIMIT_S = 1.0
"""How long closing waits for the deletion of the row."""

_DISTRIBUTION = "pubsub-log-aggregator"

# A commit that waits for no disk and no standby, a wait for no lock of others, and a small table
# that is read as it lies: an aggregator must start and go on where any of these would hold it up.
_BEGIN = """
BEGIN; SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = '1s';
SET LOCAL enable_seqscan = on"""

# Whoever deletes, or is about to renew, such a row is not waited for.
_DELETE_STALE = """
DELETE FROM writers WHERE writer IN (
    SELECT writer FROM writers WHERE seen_at < now() - interval '1 day' FOR UPDATE SKIP LOCKED)"""

_UPSERT = """
INSERT INTO writers (writer, schema_version, program, opened_at, seen_at)
VALUES ($1, $2, $3, coalesce($4, now()), now())
ON CONFLICT (writer) DO UPDATE SET seen_at = excluded.seen_at
RETURNING opened_at"""

_DELETE = "DELETE FROM writers WHERE writer = $1"


class WriterRow:
    """The row of one open store, renewed by a task until it is deleted.

    Args:
        acquire: lends a connection of the store that no batch waits for, and raises the errors of
            `storage.errors`.
    """

    def __init__(
        self, acquire: Callable[[], AbstractAsyncContextManager[PoolConnectionProxy]]
    ) -> None:
        self._acquire = acquire
        self._writer = uuid4()
        self._schema_version = migrations("postgres")[-1].version
        self._program = _program_version()
        self._opened_at_us: int | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def insert(self) -> None:
        """Insert the row, delete those that nobody has renewed for a day, and begin to renew it.

        Raises:
            StorageError: it could not be inserted.
        """
        async with self._transaction() as connection:
            await connection.execute(_DELETE_STALE)
            await self._upsert(connection)
        self._renewing = asyncio.create_task(self._renew(), name="writer-row")

    async def delete(self) -> None:
        """End the renewal and delete the row, if that takes no longer than a second."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        # What can't be deleted now is deleted once it is a day old.
        with suppress(StorageError, TimeoutError):
            async with asyncio.timeout(_DELETION_LIMIT_S), self._transaction() as connection:
                await connection.execute(_DELETE, self._writer)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_S)
            # Whatever keeps it from being renewed keeps batches from being stored, which is
            # reported where they fail, or is gone in a minute.
            with suppress(StorageError):
                async with self._transaction() as connection:
                    await self._upsert(connection)

    async def _upsert(self, connection: PoolConnectionProxy) -> None:
        # A row that somebody deleted comes back with the time that it had.
        self._opened_at_us = await connection.fetchval(
            _UPSERT, self._writer, self._schema_version, self._program, self._opened_at_us
        )

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[PoolConnectionProxy, None]:
        async with self._acquire() as connection:
            try:
                await begin(connection, _BEGIN)
                yield connection
                await connection.execute("COMMIT")
            except asyncpg.PostgresError:
                await roll_back(connection)
                raise


def _program_version() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"  # run from its files, without having been installed
