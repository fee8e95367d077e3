"""Optimistic appends of the Postgres store: what becomes of the connection, time and order."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.backends import Database
from support.events import event
from support.observer import Observer
from support.reading import get_event
from support.scene import told

from storage.errors import BatchRefused, OutcomeUnknown
from storage.migrations import migrations
from storage.model import Event
from storage.postgres import locked_append, optimistic_append
from storage.postgres.appender import BACKOFF_BATCHES, MAX_BACKOFF_BATCHES, Backoff
from storage.postgres.store import PostgresStore

SEED = [event("t", "seed")]
_LIMIT_S = 30.0


@pytest.fixture
def backend() -> str:
    return "postgres"


def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way batches go from now on: "optimistic", "locked", or both if one was in vain."""
    seen: list[str] = []
    optimistic, locked = optimistic_append.append, locked_append.append

    async def through_optimistic(*arguments: Any) -> Any:
        seen.append("optimistic")
        return await optimistic(*arguments)

    async def through_locked(*arguments: Any, **options: Any) -> Any:
        seen.append("locked")
        return await locked(*arguments, **options)

    monkeypatch.setattr(optimistic_append, "append", through_optimistic)
    monkeypatch.setattr(locked_append, "append", through_locked)
    return seen


async def writers(store: PostgresStore) -> set[int]:
    """The server processes of the connections that write."""
    assert store._writers is not None
    pool = store._writers.driver_pool
    async with pool.acquire() as one, pool.acquire() as other:
        return {one.get_server_pid(), other.get_server_pid()}


@asynccontextmanager
async def topics_held(database: Database) -> AsyncIterator[Observer]:
    """A stranger that has locked every topic."""
    async with Observer.on(database) as observer, observer.connection.transaction():
        await observer.fetch("SELECT * FROM topics FOR UPDATE")
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


async def test_a_topic_goes_the_locked_way_once(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = ways(monkeypatch)
    for name in "abc":
        await store.append([event("t", name)])
    assert seen == ["optimistic", "locked", "optimistic", "optimistic"]
    await store.append([event("t", "d"), event("new", "x")])
    assert seen[4:] == ["optimistic", "locked"]


async def test_after_one_in_vain_the_next_batches_are_locked_first(
    database: Database, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And twice as many when it happens again, until one is stored as it was decided."""
    await store.append(SEED)
    expect = optimistic_append._expect
    other = PostgresStore(database.dsn)
    await other.open()
    # The other store shares the function: it must not be overtaken as well.
    monkeypatch.setattr(other._appender.backoff, "may_try", lambda: False)

    async def overtaken(*arguments: Any) -> Any:
        expected = await expect(*arguments)
        await other.append(SEED)
        return expected

    async def next_ways(*, in_vain: bool) -> int:
        """How many batches go the locked way before the next one that is tried without."""
        with monkeypatch.context() as patched:
            if in_vain:
                patched.setattr(optimistic_append, "_expect", overtaken)
            seen = ways(patched)
            while "optimistic" not in seen:
                await store.append(SEED)
            # That one was overtaken, and went the locked way itself, as did the other store's.
            assert seen[seen.index("optimistic") :] == ["optimistic", *["locked"] * (2 * in_vain)]
            return seen.index("optimistic")

    assert await next_ways(in_vain=True) == 0
    assert await next_ways(in_vain=True) == BACKOFF_BATCHES
    assert await next_ways(in_vain=True) == 2 * BACKOFF_BATCHES
    assert await next_ways(in_vain=False) == 4 * BACKOFF_BATCHES
    assert await next_ways(in_vain=True) == 0
    assert await next_ways(in_vain=True) == BACKOFF_BATCHES
    backoff = store._appender.backoff
    backoff.remaining, backoff.next_batches = 0, MAX_BACKOFF_BATCHES
    assert await next_ways(in_vain=True) == 0
    assert backoff.next_batches == MAX_BACKOFF_BATCHES
    (counts,) = (await store.stats()).topics.values()
    assert counts.unique_processed == 1
    await other.aclose()


async def test_a_refused_batch_costs_no_connection(
    database: Database, store: PostgresStore
) -> None:
    await store.append(SEED)
    async with Observer.on(database) as observer:
        await observer.fetch('ALTER TABLE events ADD CONSTRAINT few CHECK ("offset" < 2)')
    before = await writers(store)
    for batch in ([event("t", "x")], [event("t", "a\x1fb")]):
        with pytest.raises(BatchRefused):
            await store.append(batch)
    assert await writers(store) == before
    assert (await store.stats()).topics["t"].received == 1


async def test_a_session_that_the_server_ends_while_it_stores_leaves_the_outcome_open(
    database: Database, store: PostgresStore
) -> None:
    await store.append(SEED)
    async with topics_held(database) as observer:
        storing = asyncio.create_task(store.append([event("t", "x")]))
        await done_to_who_waits(observer, "pg_terminate_backend(pid, 10000)")
        with pytest.raises(OutcomeUnknown) as caught:
            await storing
    assert str(caught.value).startswith(
        "Postgres: the statement that stores and commits failed, and may be done: "
    )
    assert told(await store.append([event("t", "x")])) == [("stored", 2)]


async def test_a_statement_that_is_not_answered_in_time_leaves_the_outcome_open(
    database: Database, store: PostgresStore
) -> None:
    await store.append(SEED)
    hasty = PostgresStore(database.dsn, command_timeout_s=0.1)
    await hasty.open()
    async with topics_held(database):
        with pytest.raises(OutcomeUnknown) as caught:
            await hasty.append([event("t", "x")])
    assert str(caught.value) == (
        "Postgres: the statement that stores and commits was not answered: no answer in time"
    )
    await hasty.aclose()


async def test_a_batch_that_is_cancelled_costs_its_connection(
    database: Database, store: PostgresStore
) -> None:
    await store.append(SEED)
    before = await writers(store)
    async with topics_held(database) as observer:
        storing = asyncio.create_task(store.append([event("t", "x")]))
        await done_to_who_waits(observer, "pid")
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
    assert len(await writers(store) & before) == 1


async def test_time_stands_still_in_a_topic_whose_last_event_is_of_the_future(
    database: Database, store: PostgresStore
) -> None:
    future_us = (int(time.time()) + 3600) * 10**6
    await store.append([event("t", "a"), event("u", "a")])
    async with Observer.on(database) as observer:
        await observer.fetch(
            f"UPDATE topics SET last_ts_ingest = to_timestamp({future_us // 10**6}) "
            "WHERE topic = 't'"
        )
    await store.append([event("t", "b"), event("u", "b")])
    in_t, in_u = await get_event(store, "t", "b"), await get_event(store, "u", "b")
    assert in_t is not None
    assert in_u is not None
    assert in_t.ts_ingest_us == future_us
    assert in_u.ts_ingest_us < future_us


async def test_the_commit_time_is_returned_whichever_way_it_went(store: PostgresStore) -> None:
    # The first locks, for its topic is new; the others do not.
    for _ in range(3):
        assert 0 <= (await store.append(SEED)).commit_s < 60


async def test_large_payloads_of_the_batch_before_are_compared_with_care(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large as they are, off the event loop; as what they say, not as they are written."""
    await store.append(SEED)
    threads: list[object] = []
    to_thread = asyncio.to_thread

    async def noted(function: Any, *arguments: Any) -> Any:
        threads.append(function)
        return await to_thread(function, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", noted)
    text = "x" * 50_000
    batches: list[Sequence[Event]] = [
        [event("t", "large", f'{{"a": "{text}"}}')],
        [event("t", "large", f'{{"a":"{text}"}}'), event("t", "large", f'{{"b":"{text}"}}')],
    ]
    outcomes = await asyncio.gather(*(store.append(batch) for batch in batches))
    assert [told(outcome) for outcome in outcomes] == [
        [("stored", 2)],
        [("duplicate", 2), ("conflict", 2)],
    ]
    assert threads


async def test_a_log_of_the_version_before_is_gone_on_with(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Observer.on(database) as observer:
        await observer.connection.execute(
            migrations("postgres")[0].sql
            + "CREATE TABLE aggregator_schema (version integer NOT NULL PRIMARY KEY, "
            "applied_at timestamptz NOT NULL DEFAULT now());"
            "INSERT INTO aggregator_schema (version) VALUES (1);"
            "INSERT INTO events VALUES ('t', 1, 'seed', now(), now(), 'shop', '{}');"
            "INSERT INTO topics VALUES ('t', 1, 1, 0, 0, now())"
        )
    store = PostgresStore(database.dsn)
    await store.open()
    seen = ways(monkeypatch)
    for number in (2, 3):
        outcome = await store.append([event("t", f"{number}"), event("t", "seed", "{}")])
        assert told(outcome) == [("stored", number), ("duplicate", 1)]
    assert seen == ["optimistic", "locked", "optimistic"]
    await store.aclose()


async def test_a_batch_that_nothing_stopped_leaves_nothing_to_build_on(
    store: PostgresStore,
) -> None:
    """What it stored would be kept in memory for as long as no other batch comes."""
    for _ in range(2):
        await store.append(SEED)
        assert store._turns.pending is None
    with pytest.raises(BatchRefused):
        await store.append([event("t", "a\x1fb")])
    assert store._turns.pending is None


def test_a_backoff_is_counted_in_batches() -> None:
    backoff = Backoff()
    backoff.remaining = 2
    assert [backoff.may_try() for _ in range(4)] == [False, False, True, True]
