"""What goes wrong on the way to Postgres is told as a storage error; the next call reconnects."""

import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from support.backends import Database
from support.events import event
from support.interleaving import Interleaving, Outcome
from support.observer import Observer
from support.scene import told
from support.unprotected import lock_first

from storage.errors import (
    BatchRefused,
    OutcomeUnknown,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)
from storage.model import Event
from storage.postgres import errors as postgres_errors
from storage.postgres import locked_append as postgres_locked_append
from storage.postgres.commit import commit
from storage.postgres.store import PostgresStore
from storage.protocols import EventStore

BATCH = ["x", "y"]


@pytest.fixture
def backend() -> str:
    return "postgres"


@pytest.fixture
async def observer(database: Database, store: EventStore) -> AsyncIterator[Observer]:
    async with Observer.on(database) as observer:
        yield observer


def batch() -> list[Event]:
    return [event("t", name) for name in BATCH]


async def database_is_read_only(store: PostgresStore) -> None:
    """Let the connection that a ping finds idle say so."""
    assert store._readers is not None
    async with store._readers.driver_pool.acquire() as connection:
        await connection.execute("SET default_transaction_read_only = on")


async def stored_again(store: EventStore) -> list[tuple[str, int]]:
    """What an append tells on the first connection that works."""
    for _ in range(3):
        try:
            return told(await store.append(batch()))
        except StorageUnavailable:
            continue
    raise AssertionError("the store did not connect again")


async def test_a_connection_lost_before_the_transaction_is_replaced(
    store: EventStore, observer: Observer
) -> None:
    await observer.fetch(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert await stored_again(store) == [("stored", 1), ("stored", 2)]
    assert (await observer.snapshot()).counts == {"t": (2, 2, 0, 0)}
    assert (await store.get("t", "x")) is not None


@pytest.mark.parametrize("statement", ["LOCK_TOPICS", "PROBE", "STORE"])
async def test_a_connection_lost_in_mid_transaction_leaves_nothing(
    database: Database, store: EventStore, observer: Observer, statement: str
) -> None:
    async with Interleaving(database) as run:
        await run.start("a", store, batch())
        await run.until("a", statement)
        (outcome,) = await run.crash("a")
    assert isinstance(outcome, StorageUnavailable)
    snapshot = await observer.snapshot()
    assert (snapshot.counts, snapshot.rows) == ({}, [])
    assert await stored_again(store) == [("stored", 1), ("stored", 2)]


async def test_a_connection_lost_at_commit_leaves_the_outcome_open(
    database: Database, store: EventStore, observer: Observer
) -> None:
    async with Interleaving(database) as run:
        await run.start("a", store, batch())
        await run.until("a", "COMMIT")
        (outcome,) = await run.crash("a")
    assert isinstance(outcome, OutcomeUnknown)
    (await observer.snapshot()).assert_sound()
    assert await stored_again(store) == [("stored", 1), ("stored", 2)]


async def test_a_commit_that_was_done_but_not_answered_is_found_by_the_retry(
    store: EventStore, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut:
        """Commits, and loses the answer."""

        def __init__(self, connection: asyncpg.Connection) -> None:
            self._connection = connection

        async def execute(self, sql: str) -> str:
            await self._connection.execute(sql)
            self._connection.terminate()
            raise ConnectionResetError("cut")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    async def cut(connection: asyncpg.Connection) -> None:
        await commit(Cut(connection))  # type: ignore[arg-type]

    monkeypatch.setattr(postgres_locked_append, "commit", cut)
    with pytest.raises(OutcomeUnknown):
        await store.append(batch())
    monkeypatch.undo()
    assert await stored_again(store) == [("duplicate", 1), ("duplicate", 2)]
    snapshot = await observer.snapshot()
    snapshot.assert_sound()
    assert snapshot.counts == {"t": (4, 2, 2, 0)}


async def test_a_ping_does_not_wait_for_an_append_under_way(
    database: Database, store: EventStore
) -> None:
    async with Interleaving(database) as run:
        await run.start("a", store, batch())
        await run.until("a", "STORE")
        await store.ping()
        assert [told(outcome) for outcome in await run.finish("a")] == [
            [("stored", 1), ("stored", 2)]
        ]


async def test_readers_that_take_every_connection_do_not_stop_the_writing(
    database: Database,
) -> None:
    store = PostgresStore(database.dsn, readers=2, connect_timeout_s=1.0)
    await store.open()
    async with store._reader():
        async with store._reader(), store._writer():
            await store.ping()
        # Where there is one left to ask on, it is asked.
        await database_is_read_only(store)
        async with store._writer():
            with pytest.raises(StorageUnavailable, match="read-only"):
                await store.ping()
    await store.aclose()


async def test_a_connection_that_nobody_has_made_yet_is_not_in_use(database: Database) -> None:
    store = PostgresStore(database.dsn, readers=2, connect_timeout_s=1.0)
    await store.open()
    assert store._readers is not None
    assert (store._readers.driver_pool.get_size(), store._readers.usage().in_use) == (1, 0)
    await database_is_read_only(store)
    async with store._writer():
        with pytest.raises(StorageUnavailable, match="read-only"):
            await store.ping()
    await store.aclose()


async def test_what_the_database_says_is_told_in_one_line(
    store: EventStore, observer: Observer
) -> None:
    await observer.fetch('ALTER TABLE events ADD CONSTRAINT few CHECK ("offset" < 2)')
    with pytest.raises(BatchRefused) as caught:
        await store.append(batch())
    assert re.match("Postgres: new row .*; Failing row contains .*$", str(caught.value))
    assert (await observer.snapshot()).rows == []


async def test_a_lock_held_by_a_stranger_for_too_long_is_unavailable_and_passes(
    database: Database,
    store: EventStore,
    observer: Observer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await store.append([event("t", "seed")])
    hasty = database.store(command_timeout_s=0.1)
    await hasty.open()
    lock_first(monkeypatch)
    stranger = observer.connection.transaction()
    await stranger.start()
    await observer.fetch("SELECT * FROM topics FOR UPDATE")
    outcome: Outcome
    try:
        outcome = await hasty.append(batch())
    except StorageError as error:
        outcome = error
    await stranger.rollback()
    assert isinstance(outcome, StorageUnavailable)
    assert await stored_again(hasty) == [("stored", 2), ("stored", 3)]
    await hasty.aclose()


async def test_a_commit_that_postgres_turns_into_a_rollback_is_no_success() -> None:
    class Aborted:
        def add_log_listener(self, _callback: object) -> None: ...

        def remove_log_listener(self, _callback: object) -> None: ...

        async def execute(self, _sql: str) -> str:
            return "ROLLBACK"

    with pytest.raises(StorageUnavailable, match="ROLLBACK"):
        await commit(Aborted())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (asyncpg.DeadlockDetectedError, StorageUnavailable),
        (asyncpg.SerializationError, StorageUnavailable),
        (asyncpg.DiskFullError, StorageUnavailable),
        (asyncpg.TooManyConnectionsError, StorageUnavailable),
        (asyncpg.LockNotAvailableError, StorageUnavailable),
        (asyncpg.AdminShutdownError, StorageUnavailable),
        (asyncpg.ReadOnlySQLTransactionError, StorageUnavailable),
        (asyncpg.UniqueViolationError, BatchRefused),
        (asyncpg.NotNullViolationError, BatchRefused),
        (asyncpg.InvalidTextRepresentationError, BatchRefused),
        (asyncpg.InvalidPasswordError, StorageMisconfigured),
        (asyncpg.InvalidCatalogNameError, StorageMisconfigured),
        (asyncpg.InterfaceError, StorageUnavailable),
        (asyncpg.InternalClientError, StorageUnavailable),
        (ConnectionResetError, StorageUnavailable),
        (TimeoutError, StorageUnavailable),
    ],
)
async def test_a_driver_error_becomes_the_storage_error_that_it_means(
    error: type[Exception], expected: type[StorageError]
) -> None:
    with pytest.raises(StorageError) as caught:
        async with postgres_errors.translated():
            raise error("what the driver says")
    assert type(caught.value) is expected
    assert "what the driver says" in str(caught.value)


@pytest.mark.parametrize("statement", ["BEGIN", "LOCK_TOPICS", "PROBE", "STORE"])
async def test_a_cancelled_append_leaves_nothing_and_no_transaction_behind(
    database: Database, store: EventStore, observer: Observer, statement: str
) -> None:
    run = Interleaving(database)
    async with run:
        await run.start("a", store, batch())
        await run.until("a", statement)
        await run.cancel("a")
        await run.finish("a")
        assert run.outcomes("a") == []
    assert await stored_again(store) == [("stored", 1), ("stored", 2)]
    snapshot = await observer.snapshot()
    assert snapshot.counts == {"t": (2, 2, 0, 0)}
