"""A store on a server that gives fewer connections than it may have."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import asyncpg
import pytest
from support.backends import Database
from support.commanding import creation, lease, one
from support.events import event, published
from support.http import MakeClient
from support.reading import read_page

from storage.errors import StorageUnavailable
from storage.model import Query
from storage.postgres.store import PostgresStore

_LIMIT = 3


@pytest.fixture
def backend() -> str:
    return "postgres"


class Few(NamedTuple):
    """A database whose sessions are few, of a role that is no superuser."""

    name: str
    dsn: str
    owner_dsn: str


@pytest.fixture
async def few(database: Database) -> AsyncIterator[Few]:
    connection = await asyncpg.connect(database.dsn)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"CREATE ROLE f_{name} LOGIN CONNECTION LIMIT {_LIMIT}")
    await connection.execute(f"ALTER DATABASE {name} OWNER TO f_{name}")
    dsn = database.dsn.replace("://postgres:@", f"://f_{name}:@").replace(
        "://postgres@", f"://f_{name}@"
    )
    assert dsn != database.dsn
    yield Few(name, dsn, database.dsn)
    await connection.execute(f"ALTER DATABASE {name} OWNER TO postgres")
    await connection.execute(f"DROP OWNED BY f_{name} CASCADE; DROP ROLE f_{name}")
    await connection.close()


@asynccontextmanager
async def taken(few: Few, number: int) -> AsyncIterator[None]:
    """So many of them taken by somebody else, as soon as they are free."""
    async with AsyncExitStack() as stack:
        while number:
            try:
                connection = await asyncpg.connect(few.dsn)
            except asyncpg.TooManyConnectionsError:
                await asyncio.sleep(0.01)
                continue
            stack.push_async_callback(connection.close)
            number -= 1
        yield


async def use(store: PostgresStore) -> None:
    """Many batches, reads and commands at once, none of which may be refused."""
    await one(store, creation())
    appends = [store.append([event("t", f"{number}")]) for number in range(60)]
    reads = [read_page(store, Query(topic="t")) for _ in range(60)]
    commands = [store.apply([lease(), lease()]) for _ in range(10)]
    await asyncio.gather(*appends, *reads, *commands)
    assert (await store.stats()).topics["t"].received == 60


@pytest.mark.parametrize("strangers", [0, 1])
async def test_where_no_further_connection_is_to_be_had_the_open_ones_do_it_all(
    few: Few, strangers: int
) -> None:
    """Three are left for what takes two to write and four to read; and then two."""
    store = PostgresStore(few.dsn)
    async with taken(few, strangers):
        await store.open()
        await use(store)
        used = await store.usage()
        assert sum(pool.in_use for pool in used.pools.values()) <= _LIMIT - strangers
    await store.aclose()


async def test_no_publish_and_no_read_is_refused(few: Few, make_client: MakeClient) -> None:
    client = await make_client(dsn=few.dsn)

    async def publish(number: int) -> int:
        body = published(topic="t", event_id=f"{number}")
        return (await client.post("/publish", json=body)).status

    async def read(path: str) -> int:
        return (await client.get(path)).status

    statuses = await asyncio.gather(
        *(publish(number) for number in range(60)),
        *(read("/events?topic=t&limit=500") for _ in range(60)),
        *(read("/stats") for _ in range(20)),
    )
    assert set(statuses) == {200}
    assert (await client.get("/ready")).status == 200


async def test_once_there_are_more_again_they_are_used(few: Few) -> None:
    store = PostgresStore(few.dsn, readers=1)
    async with taken(few, 1):
        await store.open()
        await use(store)
    assert store._writers is not None
    assert store._writers.driver_pool.get_size() == 1
    # As if the pause between two attempts were over.
    store._writers._retry_at_s = 0.0
    async with store._writer(), store._writer():
        assert store._writers.driver_pool.get_size() == 2
    await store.aclose()


async def test_one_that_is_never_given_back_is_not_waited_for_for_ever(few: Few) -> None:
    async with taken(few, 1):
        store = PostgresStore(few.dsn, readers=1, command_timeout_s=0.3)
        await store.open()
        async with store._writer():
            for _ in range(2):
                with pytest.raises(StorageUnavailable, match="too many connections"):
                    await store.append([event("t", "x")])
        await store.append([event("t", "x")])
    await store.aclose()


async def test_without_any_open_one_the_reason_is_told_at_once(few: Few) -> None:
    async with taken(few, _LIMIT - 1):
        store = PostgresStore(few.dsn)
        with pytest.raises(StorageUnavailable) as caught:
            await store.open()
    assert "too many connections for role" in str(caught.value)
    assert "needs two connections at the least, one that writes and one" in str(caught.value)
    await store.open()
    await store.aclose()
