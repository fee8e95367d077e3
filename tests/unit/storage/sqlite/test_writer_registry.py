"""The table of writers: a row for each open store, renewed, and gone with it."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.events import event
from support.stores import until

from storage.migrations import migrations
from storage.model import Status
from storage.sqlite import transaction as sqlite_transaction
from storage.sqlite.schema import _statements
from storage.sqlite.store import SqliteStore
from storage.sqlite.writer import SqliteWriter

DAY_US = 24 * 3600 * 1_000_000


pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def writer(path: Path) -> Iterator[SqliteWriter]:
    writer = SqliteWriter(path, busy_timeout_s=10, renewal_s=0.01)
    writer.open("w", "1.2.3")
    yield writer
    writer.close()


def rows(path: Path, columns: str = "writer") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {columns} FROM writers ORDER BY opened_at").fetchall()


def execute(path: Path, sql: str, *arguments: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(sql, arguments)


def seen_at(path: Path) -> int:
    ((seen,),) = rows(path, "seen_at")
    return int(seen)


@pytest.mark.usefixtures("processes")
async def test_an_open_store_has_a_row_that_is_gone_when_it_is_closed(path: Path) -> None:
    stores = [SqliteStore(path, busy_timeout_ms=1000) for _ in range(2)]
    before = time.time_ns() // 1000
    for store in stores:
        await store.open()
    newest = migrations("sqlite")[-1].version
    program = metadata.version("pubsub-log-aggregator")
    found = rows(path, "writer, schema_version, program, opened_at, seen_at")
    assert len({row[0] for row in found}) == 2
    for _, version, its_program, opened, seen in found:
        assert (version, its_program) == (newest, program)
        assert before <= opened <= seen <= time.time_ns() // 1000
    for left, store in ((1, stores[0]), (0, stores[1])):
        await store.aclose()
        assert len(rows(path)) == left


@pytest.mark.usefixtures("processes")
async def test_a_killed_writer_leaves_its_row_until_it_is_a_day_old(path: Path) -> None:
    store = SqliteStore(path, busy_timeout_ms=1000)
    await store.open()
    ((killed,),) = rows(path)
    assert store._process is not None
    psutil.Process(store._process.pid).kill()
    await until(lambda: not (store._process and store._process.is_connected), "its end is noticed")
    await store.aclose()
    assert rows(path) == [(killed,)]

    execute(path, "UPDATE writers SET seen_at = seen_at - ?", DAY_US - 3600 * 1_000_000)
    await store.open()
    assert killed in {row[0] for row in rows(path)}
    await store.aclose()
    execute(path, "UPDATE writers SET seen_at = seen_at - ?", 3600 * 1_000_000)
    await store.open()
    assert killed not in {row[0] for row in rows(path)}
    assert len(rows(path)) == 1
    await store.aclose()


@pytest.mark.usefixtures("processes")
async def test_a_writer_process_that_is_started_anew_goes_on_with_the_row(path: Path) -> None:
    store = SqliteStore(path, busy_timeout_ms=1000)
    await store.open()
    ((writer, opened),) = rows(path, "writer, opened_at")
    before = seen_at(path)
    assert store._process is not None
    psutil.Process(store._process.pid).kill()
    await until(lambda: not (store._process and store._process.is_connected), "its end is noticed")
    await store.ping()
    assert rows(path, "writer, opened_at") == [(writer, opened)]
    assert seen_at(path) > before
    await store.aclose()
    assert rows(path) == []
    await store.open()
    assert rows(path) != [(writer,)]
    await store.aclose()


async def test_the_row_is_renewed_beside_the_writing(writer: SqliteWriter, path: Path) -> None:
    ((opened,),) = rows(path, "opened_at")
    first = seen_at(path)
    await until(lambda: seen_at(path) > first, "it is renewed")
    writer.append([event("t", "a")])
    second = seen_at(path)
    await until(lambda: seen_at(path) > second, "it is renewed again")
    assert rows(path, "opened_at, program") == [(opened, "1.2.3")]


async def test_an_open_store_goes_on_when_somebody_deletes_its_row(
    writer: SqliteWriter, path: Path
) -> None:
    (before,) = rows(path)
    execute(path, "DELETE FROM writers")
    assert writer.append([event("t", "a")]).verdicts[0].status is Status.STORED
    await until(lambda: rows(path) == [before], "it is back")


async def test_a_renewal_that_fails_is_no_failure_of_the_store(
    writer: SqliteWriter, path: Path
) -> None:
    execute(path, "ALTER TABLE writers RENAME TO elsewhere")
    for number in range(3):
        writer._renew_row()
        writer.ping()
        assert writer.append([event("t", f"{number}")]).verdicts[0].offset == number + 1
    assert not writer._needs_proof
    execute(path, "ALTER TABLE elsewhere RENAME TO writers")
    before = seen_at(path)
    await until(lambda: seen_at(path) > before, "it is renewed")


async def test_the_end_does_not_wait_for_a_lock_to_delete_the_row(path: Path) -> None:
    # Far longer than the test may take.
    writer = SqliteWriter(path, busy_timeout_s=3600)
    writer.open("w", "1.2.3")
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        await asyncio.to_thread(writer.close)
        stranger.execute("ROLLBACK")
    assert len(rows(path)) == 1


def test_an_older_version_goes_on_beside_a_newer_one(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as older:
        older.execute("PRAGMA journal_mode = WAL")
        for statement in _statements(migrations("sqlite")[0].sql):
            older.execute(statement)
        older.execute("PRAGMA user_version = 1")
        older.execute("PRAGMA application_id = 0x45564C47")
        sqlite_transaction.append(older, [event("t", "a")])
        newer = SqliteWriter(path, busy_timeout_s=10)
        newer.open("w", "1.2.3")
        (verdict,) = sqlite_transaction.append(older, [event("t", "b")])
        assert verdict.offset == 2
        (verdict,) = newer.append([event("t", "c")]).verdicts
        assert verdict.offset == 3
        newer.close()
