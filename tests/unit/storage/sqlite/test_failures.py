"""What goes wrong inside SQLite is told as a storage error, leaves nothing behind, and passes."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.events import event
from support.in_process import InProcessStore
from support.sqlite_process import moved, size

from storage.errors import BatchRefused, OutcomeUnknown, StorageUnavailable
from storage.model import Event, Verdict
from storage.sqlite import transaction as sqlite_transaction


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[InProcessStore]:
    store = InProcessStore(path, busy_timeout_s=0.05)
    await store.open()
    yield store
    await store.aclose()


def writer(store: InProcessStore) -> sqlite3.Connection:
    assert store.writer._connection is not None
    return store.writer._connection


async def stored(store: InProcessStore) -> int:
    return sum(counts.unique_processed for counts in (await store.stats()).topics.values())


async def test_the_writer_flushes_every_commit_into_a_write_ahead_log(
    store: InProcessStore,
) -> None:
    full = 2
    assert writer(store).execute("PRAGMA synchronous").fetchone() == (full,)
    assert writer(store).execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_full_disk_stores_nothing_and_passes_when_there_is_room(
    store: InProcessStore,
) -> None:
    await store.append([event("t", "before")])
    (pages,) = writer(store).execute("PRAGMA page_count").fetchone()
    writer(store).execute(f"PRAGMA max_page_count = {pages + 2}")
    large = [event("t", f"e-{n}", f'{{"x":"{"y" * 5000}"}}') for n in range(50)]
    with pytest.raises(StorageUnavailable, match="full"):
        await store.append(large)
    assert not writer(store).in_transaction
    assert await stored(store) == 1
    assert await store.get("t", "e-0") is None

    writer(store).execute("PRAGMA max_page_count = 1000000")
    verdicts = (await store.append(large)).verdicts
    assert [v.offset for v in verdicts] == list(range(2, 52))


async def test_a_lock_held_longer_than_the_busy_timeout_is_unavailable_and_passes(
    store: InProcessStore, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        # Somebody writes: that alone is no reason not to be ready.
        await store.ping()
        with pytest.raises(StorageUnavailable, match="locked"):
            await store.append([event("t", "x")])
        with pytest.raises(StorageUnavailable, match="locked"):
            await store.ping()
        assert await stored(store) == 0
        stranger.execute("ROLLBACK")
    await store.ping()
    await store.append([event("t", "x")])
    assert await stored(store) == 1


async def test_a_table_that_is_gone_refuses_nothing_in_silence(
    store: InProcessStore, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as stranger:
        stranger.execute("ALTER TABLE events RENAME TO elsewhere")
    with pytest.raises(StorageUnavailable, match="no such table"):
        await store.append([event("t", "x")])
    with pytest.raises(StorageUnavailable, match="no such table"):
        await store.get("t", "x")
    with closing(sqlite3.connect(path)) as stranger:
        stranger.execute("ALTER TABLE elsewhere RENAME TO events")
    await store.append([event("t", "x")])
    assert await stored(store) == 1


class _Failing:
    """A connection of which some statements fail in the way the disk does."""

    def __init__(self, connection: sqlite3.Connection, **codes: int) -> None:
        self._connection = connection
        self._codes = codes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql in self._codes:
            error = sqlite3.OperationalError(f"the disk failed at {sql}")
            error.sqlite_errorcode = self._codes[sql]
            raise error
        return self._connection.execute(sql, *arguments)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknown),
        (sqlite3.SQLITE_IOERR_WRITE, OutcomeUnknown),
        (sqlite3.SQLITE_FULL, OutcomeUnknown),
        (sqlite3.SQLITE_CORRUPT, OutcomeUnknown),
        (sqlite3.SQLITE_BUSY, StorageUnavailable),
    ],
)
async def test_a_commit_that_failed_while_writing_leaves_the_outcome_open(
    store: InProcessStore, code: int, expected: type[Exception]
) -> None:
    failing = _Failing(writer(store), COMMIT=code)
    with pytest.raises(expected):
        sqlite_transaction.append(failing, [event("t", "x")])  # type: ignore[arg-type]
    assert not failing.in_transaction
    await store.append([event("t", "x")])
    assert await stored(store) == 1


async def test_a_connection_that_cannot_even_roll_back_is_replaced(store: InProcessStore) -> None:
    code = sqlite3.SQLITE_IOERR_WRITE
    store.writer._connection = _Failing(writer(store), COMMIT=code, ROLLBACK=code)  # type: ignore[assignment]
    with pytest.raises(OutcomeUnknown, match="at COMMIT"):
        await store.append([event("t", "x")])
    await store.ping()
    (verdict,) = (await store.append([event("t", "x")])).verdicts
    assert verdict.offset == 1


async def test_no_connection_is_opened_anew_to_what_lies_in_the_place_of_the_file(
    store: InProcessStore, path: Path
) -> None:
    code = sqlite3.SQLITE_IOERR_WRITE
    store.writer._connection = _Failing(writer(store), COMMIT=code, ROLLBACK=code)  # type: ignore[assignment]
    with pytest.raises(OutcomeUnknown):
        await store.append([event("t", "x")])
    away = path.with_name("away.db")
    moved(path, away)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="deleted or replaced"):
            await store.append([event("t", "x")])
    assert size(path) == 0, "a new one was made"
    moved(away, path)
    (verdict,) = (await store.append([event("t", "x")])).verdicts
    assert verdict.offset == 1


class _Disturbed(_Failing):
    """A connection beside which something happens right before a statement."""

    def __init__(
        self, connection: sqlite3.Connection, sql: str, disturb: Callable[[], object]
    ) -> None:
        super().__init__(connection)
        self._sql = sql
        self._disturb = disturb

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql == self._sql:
            self._disturb()
        return super().execute(sql, *arguments)


@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
@pytest.mark.parametrize(
    ("sql", "expected", "kept"),
    [(sqlite_transaction.BEGIN, StorageUnavailable, 1), ("COMMIT", OutcomeUnknown, 2)],
)
async def test_a_file_that_goes_during_the_transaction_is_noticed_before_anybody_is_told(
    store: InProcessStore, path: Path, end: str, sql: str, expected: type[Exception], kept: int
) -> None:
    await store.append([event("t", "before")])
    name, away = path.with_name(path.name + end), path.with_name("away")
    connection = writer(store)
    store.writer._connection = _Disturbed(connection, sql, lambda: moved(name, away))  # type: ignore[assignment]
    with pytest.raises(expected, match="deleted or replaced while in use"):
        await store.append([event("t", "x")])
    assert not connection.in_transaction
    store.writer._connection = connection  # type: ignore[assignment]
    with pytest.raises(StorageUnavailable, match="deleted or replaced while in use"):
        await store.stats()
    moved(away, name)
    assert await stored(store) == kept
    await store.ping()
    (verdict,) = (await store.append([event("t", "x")])).verdicts
    assert verdict.offset == 2


async def test_an_append_given_up_in_mid_transaction_is_finished_before_the_store_closes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, append_batch = threading.Event(), sqlite_transaction.append

    def begin(connection: sqlite3.Connection, batch: Sequence[Event]) -> list[Verdict]:
        begun.set()
        return append_batch(connection, batch)

    monkeypatch.setattr(sqlite_transaction, "append", begin)
    store = InProcessStore(path, busy_timeout_s=30)
    await store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        append = asyncio.create_task(store.append([event("t", "x")]))
        await asyncio.to_thread(begun.wait)
        append.cancel()
        with pytest.raises(asyncio.CancelledError):
            await append
        closed = asyncio.create_task(store.aclose())
        await asyncio.sleep(0)
        stranger.execute("COMMIT")
        await closed
    with pytest.raises(StorageUnavailable, match="not open"):
        await store.append([event("t", "y")])
    await store.open()
    assert await stored(store) == 1
    await store.aclose()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, BatchRefused),
        (sqlite3.SQLITE_TOOBIG, BatchRefused),
        (sqlite3.SQLITE_MISMATCH, BatchRefused),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StorageUnavailable),
        (sqlite3.SQLITE_READONLY, StorageUnavailable),
        (sqlite3.SQLITE_IOERR_WRITE, StorageUnavailable),
        (sqlite3.SQLITE_CORRUPT, StorageUnavailable),
    ],
)
def test_a_driver_error_becomes_the_storage_error_that_it_means(
    code: int, expected: type[Exception]
) -> None:
    error = sqlite3.OperationalError("what the driver says")
    error.sqlite_errorcode = code
    translated = sqlite_transaction.translate(error)
    assert type(translated) is expected
    assert str(translated) == "SQLite: what the driver says"


async def test_a_ping_that_is_cancelled_keeps_no_lock(store: InProcessStore) -> None:
    for hops in range(8):
        ping = asyncio.create_task(store.ping())
        for _ in range(hops):
            await asyncio.sleep(0)
        ping.cancel()
        await asyncio.gather(ping, return_exceptions=True)
        (verdict,) = (await store.append([event("t", f"e-{hops}")])).verdicts
        assert verdict.offset == hops + 1
