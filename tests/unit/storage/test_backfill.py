"""A log of the version before gets its rows in `appends`, in steps that may be interrupted."""

import asyncio
import subprocess
import sys
from types import ModuleType

import pytest
from support.backends import Database
from support.events import event
from support.former_schema import Range, make_former, ranges, store_formerly
from support.observer import Observer
from support.verifying import differences

from storage.errors import StorageUnavailable
from storage.migrations import migrations
from storage.postgres import backfill as postgres_backfill
from storage.postgres import schema as postgres_schema
from storage.sqlite import backfill as sqlite_backfill
from storage.sqlite import schema as sqlite_schema

# Two topics at one time, one topic twice at one time, ranges longer than a batch and of one event.
APPENDS = [
    Range(1_000, "a", 1, 3), Range(1_000, "b", 1, 1), Range(2_000, "a", 4, 4),
    Range(3_000, "b", 2, 40), Range(3_000, "c", 1, 7), Range(4_000, "a", 5, 5),
    Range(5_000, "c", 8, 8),
]  # fmt: skip


def modules(database: Database) -> tuple[ModuleType, ModuleType]:
    if database.backend == "sqlite":
        return sqlite_backfill, sqlite_schema
    return postgres_backfill, postgres_schema


@pytest.fixture
def small_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules(database)[0], "BATCH_EVENTS", 4)


@pytest.fixture
def no_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each opening adds one batch."""
    monkeypatch.setattr(modules(database)[1], "BACKFILL_S", -1.0)


async def names(database: Database) -> set[str]:
    sql = {
        "sqlite": "SELECT name FROM sqlite_schema",
        "postgres": "SELECT relname::text FROM pg_class "
        "WHERE relnamespace = current_schema()::regnamespace",
    }[database.backend]
    async with Observer.on(database) as observer:
        return {name for (name,) in await observer.fetch(sql)}


async def version(database: Database) -> int:
    sql = {
        "sqlite": "PRAGMA user_version",
        "postgres": "SELECT max(version) FROM aggregator_schema",
    }[database.backend]
    async with Observer.on(database) as observer:
        ((found,),) = await observer.fetch(sql)
    return int(found)


GONE = {"events_by_ts_ingest", "appends_backfill", "appends_backfill_heads"}


@pytest.mark.usefixtures("small_batches")
async def test_every_event_stored_before_is_recorded(database: Database) -> None:
    await make_former(database)
    await store_formerly(database, APPENDS)
    store = database.in_process_store()
    await store.open()
    assert await ranges(database) == APPENDS
    await store.append([event("a", "new")])
    assert [each[1:] for each in await ranges(database)] == [
        *(each[1:] for each in APPENDS),
        ("a", 6, 6),
    ]
    await store.aclose()
    assert await version(database) == migrations(database.backend)[-1].version
    assert not GONE & await names(database)


@pytest.mark.usefixtures("small_batches", "no_time")
async def test_an_open_that_is_not_done_says_how_far_it_is_and_the_next_goes_on(
    database: Database,
) -> None:
    await make_former(database)
    await store_formerly(database, APPENDS)
    store = database.in_process_store()
    said = []
    for _ in range(20):
        try:
            await store.open()
        except StorageUnavailable as error:
            said.append(str(error))
            assert await names(database) > GONE
        else:
            break
    await store.aclose()
    assert said[0] == (
        "the schema of the log is being brought up to date: 4 of 53 events are done; it goes on by "
        "itself, and may be interrupted"
    )
    done = [int(each.split()[11]) for each in said]
    assert done == sorted(set(done))
    assert await ranges(database) == APPENDS
    assert not GONE & await names(database)


@pytest.mark.usefixtures("small_batches", "no_time")
async def test_stores_that_do_it_at_once_do_it_once(database: Database) -> None:
    await make_former(database)
    await store_formerly(database, APPENDS)
    stores = [database.in_process_store() for _ in range(3)]

    async def until_open(number: int) -> None:
        for _ in range(40):
            try:
                await stores[number].open()
            except StorageUnavailable:
                continue
            return
        raise AssertionError("it never opened")

    await asyncio.gather(*map(until_open, range(3)))
    for store in stores:
        await store.aclose()
    assert await ranges(database) == APPENDS


@pytest.mark.usefixtures("small_batches", "no_time")
async def test_an_aggregator_of_the_version_before_may_go_on_meanwhile(database: Database) -> None:
    """What it stores, the trigger records, and once only: also in a range that began before."""
    await make_former(database)
    await store_formerly(database, APPENDS)
    store = database.in_process_store()
    more = [Range(5_000, "c", 9, 12), Range(5_000, "d", 1, 2), Range(6_000, "a", 6, 9)]
    for append in more:
        with pytest.raises(StorageUnavailable, match="being brought up to date"):
            await store.open()
        await store_formerly(database, [append])
    for _ in range(20):
        try:
            await store.open()
        except StorageUnavailable:
            continue
        break
    await store.aclose()
    assert await ranges(database) == [*APPENDS[:-1], Range(5_000, "c", 8, 12), *more[1:]]


@pytest.mark.parametrize("backend", ["postgres"])
@pytest.mark.parametrize("table", ["topics", "events"])
async def test_a_long_transaction_of_others_is_not_waited_for_with_all_behind_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setattr(postgres_schema, "_MAX_LOCK_WAIT_MS", 10)
    await make_former(database)
    await store_formerly(database, APPENDS)
    store = database.in_process_store()
    async with Observer.on(database) as backup:
        await backup.fetch("BEGIN")
        await backup.fetch(f"SELECT FROM {table}")
        with pytest.raises(StorageUnavailable, match="wait for the end of a backup or of verify"):
            await store.open()
        await backup.fetch("COMMIT")
    await store.open()
    await store.aclose()
    assert await ranges(database) == APPENDS


_ADDS_TWO_BATCHES = """
import asyncio, sys
from pathlib import Path
from storage.postgres import backfill as postgres
from storage.postgres.store import PostgresStore
from storage.sqlite import backfill as sqlite
from storage.sqlite.connection import open_writer
from storage.sqlite.file_guard import FileGuard

def stop(module):
    added, add = [], module._add_batch
    def adds(*arguments):
        if len(added) == 2:
            print("two", flush=True)
            sys.stdin.readline()
        added.append(1)
        return add(*arguments)
    module.BATCH_EVENTS = 4
    module._add_batch = adds

backend, where = sys.argv[1:]
stop(postgres if backend == "postgres" else sqlite)
if backend == "postgres":
    asyncio.run(PostgresStore(where).open())
else:
    open_writer(Path(where), FileGuard(Path(where)), 10.0)
"""


@pytest.mark.usefixtures("processes")
async def test_killed_on_the_way_it_goes_on_from_there(database: Database) -> None:
    await make_former(database)
    await store_formerly(database, APPENDS)
    where = str(database.path) if database.backend == "sqlite" else database.dsn
    process = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", _ADDS_TWO_BATCHES, database.backend, where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == "two\n"
    process.kill()
    await asyncio.to_thread(process.communicate)
    assert 0 < sum(each.last_offset - each.first_offset + 1 for each in await ranges(database)) < 53
    store = database.store()
    await store.open()
    await store.aclose()
    assert await ranges(database) == APPENDS
    assert await asyncio.to_thread(differences, database) == []


async def test_a_new_log_needs_no_backfill(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(modules(database)[1], "backfill")
    for _ in range(2):
        store = database.in_process_store()
        await store.open()
        await store.aclose()
    assert not GONE & await names(database)
