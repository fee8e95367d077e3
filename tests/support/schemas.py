"""Schemas of a Postgres database, as a test makes them and finds them, and stores opened there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from storage.errors import StorageMisconfigured
from storage.postgres.store import PostgresStore
from support.backends import Database
from support.events import event
from support.scene import told


@asynccontextmanager
async def connected(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(database: Database, *statements: str) -> None:
    async with connected(database) as connection:
        for statement in statements:
            await connection.execute(statement)


async def stored(dsn: str, event_id: str, schema: str | None = None) -> list[tuple[str, int]]:
    """What a store opened there tells of one event."""
    store = PostgresStore(dsn, schema=schema)
    await store.open()
    try:
        return told(await store.append([event("t", event_id)]))
    finally:
        await store.aclose()


async def refusal(dsn: str, schema: str | None = None) -> str:
    """What a store says that is opened there; it must give up."""
    store = PostgresStore(dsn, schema=schema)
    with pytest.raises(StorageMisconfigured) as caught:
        await store.open()
    return str(caught.value)


async def logs(database: Database) -> list[str]:
    """The schemas in which any of a log's tables is."""
    async with connected(database) as connection:
        rows = await connection.fetch(
            "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN "
            "('topics', 'events', 'aggregator_schema') ORDER BY 1"
        )
    return [schema for (schema,) in rows]
