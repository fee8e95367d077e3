"""The connection of a store that changes subscriptions: kept, replaced, and done without."""

import asyncio

import pytest
from support.backends import Database
from support.commanding import creation, fill, lease, one
from support.observer import Observer
from support.stores import until

from storage.errors import StorageUnavailable
from storage.model import Pool
from storage.postgres.pool import ConnectionPool
from storage.postgres.store import PostgresStore
from storage.subscriptions.outcomes import Leased, Refusal


@pytest.fixture
def backend() -> str:
    return "postgres"


def pool(store: PostgresStore) -> ConnectionPool:
    """The pool of that connection."""
    assert store._subscribers is not None
    return store._subscribers


async def pid(store: PostgresStore) -> int:
    """The server process of the connection that changes subscriptions now."""
    async with store._subscriber() as connection:
        number: int = connection.get_server_pid()
        return number


async def test_it_is_opened_when_it_is_needed_and_kept(store: PostgresStore) -> None:
    assert pool(store).driver_pool.get_size() == 0
    await one(store, creation())
    first = await pid(store)
    await one(store, lease())
    assert await pid(store) == first
    async with store._subscriber():
        assert (await store.usage()).pools["subscriptions"] == Pool(1, 1)
    assert (await store.usage()).pools["subscriptions"] == Pool(0, 1)


async def test_one_that_the_server_ended_is_replaced_without_an_error(
    database: Database, store: PostgresStore
) -> None:
    await one(store, creation())
    for _ in range(2):
        before = await pid(store)
        async with Observer.on(database) as observer:
            await observer.fetch("SELECT pg_terminate_backend($1, 10000)", before)
        await until(lambda: not pool(store).driver_pool.get_size(), "the farewell is read")
        assert isinstance(await one(store, lease()), Leased)


async def test_one_that_expired_is_replaced_after_its_use(store: PostgresStore) -> None:
    await one(store, creation())
    first = await pid(store)
    await store._expire()
    second = await pid(store)
    async with store._subscriber() as connection:
        assert connection.get_server_pid() == second
        await store._expire()
        await connection.execute("SELECT 1")
    assert len({first, second, await pid(store)}) == 3


async def test_those_who_wait_for_it_have_it_one_after_the_other(store: PostgresStore) -> None:
    await fill(store)
    await one(store, creation())
    leased = await asyncio.gather(*(one(store, lease(most=10)) for _ in range(20)))
    assert sum(bool(each.granted) for each in leased if isinstance(each, Leased)) == 1


async def test_one_whose_user_is_cancelled_is_not_used_again(store: PostgresStore) -> None:
    await one(store, creation())
    before = await pid(store)

    async def sleep() -> None:
        async with store._subscriber() as connection:
            await connection.execute("SELECT pg_sleep(60)")

    sleeping = asyncio.create_task(sleep())
    await until(lambda: pool(store).usage().in_use == 1, "it is in use")
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert await pid(store) != before
    assert isinstance(await one(store, lease(name="none")), Refusal)


async def test_a_closed_store_has_none(database: Database) -> None:
    store = PostgresStore(database.dsn)
    await store.open()
    await one(store, creation())
    await store.aclose()
    with pytest.raises(StorageUnavailable, match="not connected yet"):
        await one(store, lease())
    async with Observer.on(database) as observer:
        sql = "SELECT FROM pg_stat_activity WHERE application_name = 'pubsub-log-aggregator'"
        async with asyncio.timeout(30):
            while await observer.fetch(f"{sql} AND datname = current_database()"):  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
