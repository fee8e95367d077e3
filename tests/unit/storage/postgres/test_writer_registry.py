"""The table of writers: which versions write to a Postgres database, and when each was seen."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any, NamedTuple

import pytest
from support.backends import Database
from support.events import event
from support.observer import Observer
from support.scene import told

from storage.errors import StorageUnavailable
from storage.migrations import migrations
from storage.postgres import writer_registry as postgres_writers
from storage.postgres.store import PostgresStore

_LIMIT_S = 30.0
NEWEST = migrations("postgres")[-1].version


@pytest.fixture
def backend() -> str:
    return "postgres"


class Row(NamedTuple):
    """A row of the table; times in seconds before now."""

    writer: str
    schema_version: int
    program: str
    opened_s: float
    seen_s: float


@pytest.fixture
async def observer(database: Database) -> AsyncIterator[Observer]:
    async with Observer.on(database) as observer:
        yield observer


async def rows(observer: Observer, schema: str = "public") -> list[Row]:
    found = await observer.fetch(
        "SELECT writer::text, schema_version, program, "
        "extract(epoch FROM now() - opened_at)::float, "
        f"extract(epoch FROM now() - seen_at)::float FROM {schema}.writers "
        "ORDER BY opened_at"
    )
    return [Row(*row) for row in found]


async def until(observer: Observer, condition: Any) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while not condition(await rows(observer)):  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)


async def set_back(observer: Observer, interval: str) -> None:
    """Make every row as old as one that was renewed last that long ago."""
    await observer.fetch(f"UPDATE writers SET seen_at = seen_at - interval '{interval}'")


async def test_a_store_has_one_row_for_as_long_as_it_is_open(
    database: Database, observer: Observer
) -> None:
    store = PostgresStore(database.dsn)
    await store.open()
    (row,) = await rows(observer)
    assert (row.schema_version, row.program) == (NEWEST, version("pubsub-log-aggregator"))
    assert row.opened_s == row.seen_s
    assert 0 <= row.seen_s < 3600
    await store.append([event("t", "x")])
    assert [each.writer for each in await rows(observer)] == [row.writer]
    await store.aclose()
    assert await rows(observer) == []


async def test_each_store_and_each_opening_has_a_row_of_its_own(
    database: Database, observer: Observer
) -> None:
    stores = [PostgresStore(database.dsn, readers=1) for _ in range(3)]
    for store in stores:
        await store.open()
    before = {row.writer for row in await rows(observer)}
    assert len(before) == 3
    await stores[0].open()
    after = {row.writer for row in await rows(observer)}
    assert len(after) == 3
    assert len(after & before) == 2
    for store in stores:
        await store.aclose()
    assert await rows(observer) == []


async def test_the_row_is_in_the_schema_of_the_log(database: Database, observer: Observer) -> None:
    store = PostgresStore(database.dsn, schema="mine")
    await store.open()
    assert len(await rows(observer, "mine")) == 1
    assert await observer.fetch("SELECT to_regclass('public.writers')::text") == [(None,)]
    await store.aclose()


async def test_the_row_is_renewed_and_keeps_its_beginning(
    database: Database, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writers, "RENEWAL_S", 0.01)
    store = PostgresStore(database.dsn)
    await store.open()
    (row,) = await rows(observer)
    await set_back(observer, "1 hour")
    await until(observer, lambda found: found[0].seen_s < 3000)
    # Twice, for a renewal may have been under way.
    await set_back(observer, "1 hour")
    await until(observer, lambda found: found[0].seen_s < 3000)
    (renewed,) = await rows(observer)
    assert renewed[:3] == row[:3]
    assert renewed.opened_s > renewed.seen_s
    await store.aclose()


async def test_a_row_that_somebody_deleted_comes_back_with_its_beginning(
    database: Database, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writers, "RENEWAL_S", 0.01)
    store = PostgresStore(database.dsn)
    await store.open()
    ((writer, opened_at),) = await observer.fetch("DELETE FROM writers RETURNING writer, opened_at")
    await store.append([event("t", "x")])
    await until(observer, lambda found: len(found) == 1)
    assert await observer.fetch("SELECT writer, opened_at FROM writers") == [(writer, opened_at)]
    await store.aclose()


async def test_a_failure_to_renew_is_no_error_and_the_next_one_may_succeed(
    database: Database,
    observer: Observer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(postgres_writers, "RENEWAL_S", 0.01)
    store = PostgresStore(database.dsn, readers=1)
    await store.open()
    readers = store._readers
    assert readers is not None
    async with readers.driver_pool.acquire() as connection:
        reader = connection.get_server_pid()
    await observer.fetch("ALTER TABLE writers RENAME TO hidden")
    for number in range(20):
        assert told(await store.append([event("t", f"{number}")])) == [("stored", number + 1)]
        assert await store.get("t", f"{number}") is not None
        await store.ping()
        await asyncio.sleep(0.01)
    await observer.fetch("ALTER TABLE hidden RENAME TO writers")
    await set_back(observer, "1 hour")
    await until(observer, lambda found: found[0].seen_s < 3000)
    # No connection was lost by it, nor given back in the middle of a transaction.
    assert caplog.text == ""
    async with readers.driver_pool.acquire() as connection:
        assert connection.get_server_pid() == reader
    await store.aclose()
    assert await rows(observer) == []


async def test_closing_does_not_wait_for_a_table_that_somebody_locked(
    database: Database, observer: Observer
) -> None:
    store = PostgresStore(database.dsn)
    await store.open()
    async with observer.connection.transaction():
        await observer.fetch("LOCK TABLE writers")
        async with asyncio.timeout(_LIMIT_S):
            await store.aclose()
    assert len(await rows(observer)) == 1


async def test_opening_fails_soon_while_the_table_is_locked_and_can_be_tried_again(
    database: Database, observer: Observer
) -> None:
    store = PostgresStore(database.dsn)
    await store.open()
    await store.aclose()
    async with observer.connection.transaction():
        await observer.fetch("LOCK TABLE writers")
        with pytest.raises(StorageUnavailable, match="lock timeout"):
            await store.open()
    await store.open()
    await store.aclose()


async def test_a_row_of_which_nothing_was_seen_for_a_day_is_deleted_by_the_next_to_open(
    database: Database, observer: Observer
) -> None:
    stores = [PostgresStore(database.dsn, readers=1) for _ in range(2)]
    await stores[0].open()
    (old,) = await rows(observer)
    await set_back(observer, "23 hours 59 minutes")
    await stores[1].open()
    assert old.writer in {row.writer for row in await rows(observer)}
    await set_back(observer, "2 minutes")
    await stores[1].open()
    (new,) = await rows(observer)
    assert new.writer != old.writer
    # It is open still, and goes on.
    await stores[0].append([event("t", "x")])
    for store in stores:
        await store.aclose()


async def test_an_old_row_that_is_locked_by_its_writer_is_not_waited_for(
    database: Database, observer: Observer
) -> None:
    stores = [PostgresStore(database.dsn, readers=1) for _ in range(2)]
    await stores[0].open()
    await set_back(observer, "2 days")
    async with observer.connection.transaction():
        await observer.fetch("SELECT * FROM writers FOR UPDATE")
        await stores[1].open()
    assert len(await rows(observer)) == 2
    for store in stores:
        await store.aclose()


_OPENS = """
import asyncio, sys
from storage.postgres.store import PostgresStore

async def main(dsn):
    await PostgresStore(dsn).open()
    print("open", flush=True)
    await asyncio.sleep(3600)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_writer_that_is_killed_leaves_its_row(
    database: Database, observer: Observer
) -> None:
    process = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", _OPENS, database.dsn],
        env={**os.environ, "PYTHONDEVMODE": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == "open\n"
    (row,) = await rows(observer)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [each.writer for each in await rows(observer)] == [row.writer]
    await set_back(observer, "25 hours")
    store = PostgresStore(database.dsn)
    await store.open()
    assert row.writer not in {each.writer for each in await rows(observer)}
    await store.aclose()
