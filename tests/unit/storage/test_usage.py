"""What a store tells of itself: how long commits take, what it takes up."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from support.backends import Database
from support.events import event

from storage.backends import sqlite_store
from storage.errors import BatchRefused, StorageUnavailable
from storage.model import Event
from storage.postgres.store import PostgresStore
from storage.protocols import EventStore
from storage.sqlite.store import SqliteStore


def refused_by(database: Database) -> Sequence[Event]:
    """A batch that the database itself refuses."""
    if database.backend == "sqlite":
        with closing(sqlite3.connect(database.path)) as stranger:
            stranger.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN new.event_id = 'bad' "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
    return [event("orders", "bad", payload="{")]


async def test_an_append_returns_the_time_its_commit_took(
    store: EventStore, database: Database
) -> None:
    for number in range(1, 4):
        # A duplicate is counted, and so committed, too.
        appended = await store.append([event("orders", f"e-{number // 2}")])
        assert 0 < appended.commit_s < 60
    with pytest.raises(BatchRefused):
        await store.append(refused_by(database))


@pytest.mark.usefixtures("processes")
async def test_the_writer_process_returns_the_time_its_commit_took(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "log.db", busy_timeout_ms=100)
    await store.open()
    try:
        for number in range(1, 4):
            appended = await store.append([event("orders", f"e-{number}")])
            assert 0 < appended.commit_s < 60
        with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailable):
                await store.append([event("orders", "locked out")])
    finally:
        await store.aclose()


async def test_the_connections_in_use_are_counted(store: EventStore) -> None:
    assert isinstance(store, (SqliteStore, PostgresStore))
    reader = store._reader if isinstance(store, SqliteStore) else store
    idle = (await store.usage()).pools["readers"]
    async with reader._reader():
        reading = (await store.usage()).pools["readers"]
    assert (reading.in_use, reading.max_connections) == (idle.in_use + 1, idle.max_connections)


async def test_what_is_stored_takes_room(store: EventStore) -> None:
    before = (await store.usage()).database_bytes
    await store.append([event("orders", "e-1", payload=f'{{"text": "{"x" * 500_000}"}}')])
    grown = (await store.usage()).database_bytes - before
    # Postgres compresses what repeats itself.
    assert grown > (500_000 if isinstance(store, SqliteStore) else 0)


async def test_a_store_that_is_not_open_tells_nothing(database: Database) -> None:
    with pytest.raises(StorageUnavailable):
        await database.store().usage()
