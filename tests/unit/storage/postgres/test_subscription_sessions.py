"""Sessions of commands on Postgres: lost before and while they write, shared, and held up."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.backends import Database
from support.commanding import creation, fill, lease, one
from support.observer import Observer

from storage.errors import OutcomeUnknown, StorageUnavailable
from storage.postgres import subscriptions
from storage.postgres.errors import SHARED
from storage.postgres.session import MARKER
from storage.postgres.store import PostgresStore
from storage.postgres.subscription_loading import load
from storage.subscriptions.outcomes import Leased

_LIMIT_S = 30.0


@pytest.fixture
def backend() -> str:
    return "postgres"


@pytest.fixture
async def other(database: Database, store: PostgresStore) -> AsyncIterator[PostgresStore]:
    """A second store on the database, as another aggregator has it."""
    other = PostgresStore(database.dsn)
    await other.open()
    yield other
    await other.aclose()


def handed_out(leased: object) -> list[int]:
    assert isinstance(leased, Leased)
    return [n for each in leased.granted for n in range(each.first, each.last + 1)]


async def rows(database: Database, sql: str) -> Sequence[Any]:
    async with Observer.on(database) as observer:
        return [tuple(row) for row in await observer.fetch(sql)]


@asynccontextmanager
async def subscriptions_held(database: Database) -> AsyncIterator[Observer]:
    """A stranger that has locked every subscription."""
    async with Observer.on(database) as observer, observer.connection.transaction():
        await observer.fetch("SELECT * FROM subscriptions FOR UPDATE")
        yield observer


async def done_to_who_waits(observer: Observer, what: str) -> None:
    """Do something to the session that waits for a lock, once one does."""
    sql = (
        f"SELECT {what} FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(_LIMIT_S):
        while not await observer.fetch(sql):  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)


async def test_a_session_that_ends_before_the_writing_has_changed_nothing(
    database: Database, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    await one(store, creation())

    async def end(connection: Any, *arguments: Any) -> Any:
        read = await load(connection, *arguments)
        pid = connection.get_server_pid()
        assert await rows(database, f"SELECT pg_terminate_backend({pid}, 10000)") == [(True,)]
        return read

    with monkeypatch.context() as patched:
        patched.setattr(subscriptions, "load", end)
        with pytest.raises((OutcomeUnknown, StorageUnavailable)):
            await one(store, lease())
    assert handed_out(await one(store, lease())) == list(range(1, 11))


async def test_a_session_that_ends_while_it_writes_leaves_the_outcome_open(
    database: Database, store: PostgresStore
) -> None:
    await fill(store)
    await one(store, creation())
    async with subscriptions_held(database) as observer:
        leasing = asyncio.create_task(one(store, lease()))
        await done_to_who_waits(observer, "pg_terminate_backend(pid, 10000)")
        with pytest.raises(OutcomeUnknown) as caught:
            await leasing
    assert str(caught.value).startswith(
        "Postgres: the statement that changes subscriptions and commits failed, and may be done: "
    )
    assert handed_out(await one(store, lease())) == list(range(1, 11))


async def test_a_session_that_is_not_its_own_changes_nothing(
    database: Database, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    await one(store, creation())

    async def take_over() -> None:
        async with store._subscriber() as connection:
            await connection.execute(f"SET {MARKER} = 'another'")

    await take_over()
    with pytest.raises(StorageUnavailable) as caught:
        await one(store, lease())
    assert str(caught.value) == SHARED

    # And where it becomes another between the two statements.
    async def loaded(connection: Any, *arguments: Any) -> Any:
        read = await load(connection, *arguments)
        await connection.execute(f"SET {MARKER} = 'another'")
        return read

    with monkeypatch.context() as patched:
        patched.setattr(subscriptions, "load", loaded)
        with pytest.raises(StorageUnavailable) as caught:
            await one(store, lease())
    assert str(caught.value) == SHARED
    assert not await rows(database, "SELECT FROM subscription_topics")


async def test_publishes_do_not_wait_for_commands_nor_these_for_publishes(
    database: Database, store: PostgresStore
) -> None:
    await fill(store)
    await one(store, creation())
    async with subscriptions_held(database) as observer:
        leasing = asyncio.create_task(one(store, lease()))
        await done_to_who_waits(observer, "pid")
        await fill(store, "other")
    assert handed_out(await leasing)
    async with Observer.on(database) as observer, observer.connection.transaction():
        await observer.fetch("SELECT * FROM topics FOR UPDATE")
        storing = [asyncio.create_task(fill(store, topic)) for topic in ("t", "other")]
        await done_to_who_waits(observer, "pid")
        assert isinstance(await one(store, lease()), Leased)
    await asyncio.gather(*storing)
