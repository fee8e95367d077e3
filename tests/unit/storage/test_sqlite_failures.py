"""What goes wrong inside SQLite is told as a storage error, leaves nothing behind, and passes."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from support.events import event

from storage import sqlite_writer
from storage.errors import BatchRefused, OutcomeUnknown, StorageUnavailable
from storage.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, busy_timeout_s=0.05)
    await store.open()
    yield store
    await store.aclose()


def writer(store: SqliteStore) -> sqlite3.Connection:
    assert store._writer is not None
    return store._writer


async def stored(store: SqliteStore) -> int:
    return sum(counts.unique_processed for counts in (await store.stats()).values())


async def test_the_writer_flushes_every_commit_into_a_write_ahead_log(store: SqliteStore) -> None:
    full = 2
    assert writer(store).execute("PRAGMA synchronous").fetchone() == (full,)
    assert writer(store).execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_full_disk_stores_nothing_and_passes_when_there_is_room(
    store: SqliteStore,
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
    verdicts = await store.append(large)
    assert [v.offset for v in verdicts] == list(range(2, 52))


async def test_a_lock_held_longer_than_the_busy_timeout_is_unavailable_and_passes(
    store: SqliteStore, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="locked"):
            await store.append([event("t", "x")])
        # Somebody writes: that is no reason not to be ready.
        await store.ping()
        assert await stored(store) == 0
        stranger.execute("ROLLBACK")
    await store.append([event("t", "x")])
    assert await stored(store) == 1


async def test_a_table_that_is_gone_refuses_nothing_in_silence(
    store: SqliteStore, path: Path
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


class _FailingCommit:
    """A connection whose COMMIT fails in the way the disk does."""

    def __init__(self, connection: sqlite3.Connection, code: int) -> None:
        self._connection = connection
        self._code = code

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
        if sql == "COMMIT":
            error = sqlite3.OperationalError("the disk failed")
            error.sqlite_errorcode = self._code
            raise error
        return self._connection.execute(sql, *arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknown),
        (sqlite3.SQLITE_FULL, StorageUnavailable),
        (sqlite3.SQLITE_BUSY, StorageUnavailable),
    ],
)
async def test_only_a_failed_flush_leaves_the_outcome_open(
    store: SqliteStore, code: int, expected: type[Exception]
) -> None:
    failing = _FailingCommit(writer(store), code)
    with pytest.raises(expected):
        sqlite_writer.append(failing, [event("t", "x")])  # type: ignore[arg-type]
    assert not failing.in_transaction
    await store.append([event("t", "x")])
    assert await stored(store) == 1


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
    translated = sqlite_writer.translate(error)
    assert type(translated) is expected
    assert str(translated) == "SQLite: what the driver says"


async def test_a_ping_that_is_cancelled_keeps_no_lock(store: SqliteStore) -> None:
    for hops in range(8):
        ping = asyncio.create_task(store.ping())
        for _ in range(hops):
            await asyncio.sleep(0)
        ping.cancel()
        await asyncio.gather(ping, return_exceptions=True)
        (verdict,) = await store.append([event("t", f"e-{hops}")])
        assert verdict.offset == hops + 1
