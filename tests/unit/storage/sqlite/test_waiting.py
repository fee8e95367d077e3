"""What the SQLite store waits for, when it opens at all, and what a ping proves."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from support.events import event
from support.in_process import InProcessStore

from storage.errors import BatchRefused, StorageMisconfigured, StorageUnavailable
from storage.model import Event, Verdict
from storage.sqlite import transaction as sqlite_transaction

BATCH = [event("t", "x")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[InProcessStore]:
    store = InProcessStore(path, busy_timeout_s=7.0)
    await store.open()
    yield store
    await store.aclose()


async def test_writing_and_reading_wait_for_a_lock_and_a_ping_does_not(
    store: InProcessStore,
) -> None:
    busy_timeout = "PRAGMA busy_timeout"
    assert store.writer._connection is not None
    assert store.writer._probe is not None
    assert store.writer._connection.execute(busy_timeout).fetchone() == (7000,)
    for reader in store.reader._connections:
        assert list(await reader.execute_fetchall(busy_timeout)) == [(7000,)]
    assert store.writer._probe.execute(busy_timeout).fetchone() == (0,)


async def test_a_file_that_somebody_has_to_himself_can_be_opened_once_he_is_gone(
    path: Path,
) -> None:
    store = InProcessStore(path, busy_timeout_s=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageUnavailable, match=r"^SQLite: database is locked$"):
            await store.open()
        stranger.execute("ROLLBACK")
    await store.open()
    await store.append(BATCH)
    await store.aclose()


async def test_an_sqlite_that_is_too_old_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = InProcessStore(path)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.37.2")
    with pytest.raises(StorageMisconfigured) as caught:
        await store.open()
    assert str(caught.value) == "this Python has SQLite 3.37.2; 3.38 or newer is needed"
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 38, 0))
    await store.open()
    await store.aclose()


async def test_after_a_failure_a_ping_proves_a_whole_transaction_until_one_is_committed(
    store: InProcessStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs: list[sqlite3.Connection] = []

    async def proved_by_ping() -> bool:
        before = len(proofs)
        await store.ping()
        return len(proofs) > before

    async def append_fails(error: Exception) -> None:
        def fail(_connection: sqlite3.Connection, _batch: Sequence[Event]) -> list[Verdict]:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(sqlite_transaction, "append", fail)
            with pytest.raises(type(error)):
                await store.append(BATCH)

    monkeypatch.setattr(sqlite_transaction, "prove", proofs.append)
    assert not await proved_by_ping()
    # A batch that was refused says nothing about the disk.
    await append_fails(BatchRefused("one of its events"))
    assert not await proved_by_ping()
    await append_fails(StorageUnavailable("full"))
    await append_fails(BatchRefused("one of its events"))
    assert await proved_by_ping()
    assert not await proved_by_ping()
    await append_fails(StorageUnavailable("full"))
    await store.append(BATCH)
    assert not await proved_by_ping()


async def refused(path: Path) -> str:
    with pytest.raises(StorageMisconfigured) as caught:
        await InProcessStore(path).open()
    return str(caught.value)


async def test_a_database_without_a_write_ahead_log_is_refused() -> None:
    assert await refused(Path(":memory:")) == (
        "':memory:' can't be put into WAL mode (it stays in 'memory' mode): use a file on a "
        "local disk"
    )


async def test_a_database_of_another_program_is_refused_by_name(path: Path) -> None:
    with closing(sqlite3.connect(path)) as stranger:
        stranger.execute("CREATE TABLE notes (x)")
    assert await refused(path) == (
        f"'{path}' is a SQLite database of another program; choose another file"
    )
