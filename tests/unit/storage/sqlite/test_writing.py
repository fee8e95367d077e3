"""What the SQLite store does, and says, once a file, a connection or the disk fails it."""

import gc
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from support.events import event
from support.in_process import InProcessStore
from support.reading import get_event, read_page
from support.sqlite_pages import overwrite_page, tree

from storage.errors import BatchRefused, StorageMisconfigured, StorageUnavailable
from storage.model import Query
from storage.sqlite import transaction as sqlite_transaction
from storage.sqlite import writer as sqlite_writer

PAGE_BYTES = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[InProcessStore]:
    store = InProcessStore(path)
    await store.open()
    yield store
    await store.aclose()


def failure(code: int, text: str = "what the driver says") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def damage_all_but_the_schema(path: Path, *, spare: str = "") -> bytes:
    """Damage all pages but those of the schema and of table `spare`; return what was there."""
    content = path.read_bytes()
    damaged = bytearray(b"\xff" * len(content))
    spared = [1, *tree(path, "sqlite_schema").leaves, *([tree(path, spare).root] if spare else [])]
    for number in spared:
        start = (number - 1) * PAGE_BYTES
        damaged[start : start + PAGE_BYTES] = content[start : start + PAGE_BYTES]
    path.write_bytes(damaged)
    return content


def restore(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def in_the_file_itself(path: Path) -> list[str]:
    """The ids that are there without any write-ahead log."""
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as reader:
        if not reader.execute("SELECT 1 FROM sqlite_schema WHERE name = 'events'").fetchone():
            return []
        return [event_id for (event_id,) in reader.execute("SELECT event_id FROM events")]


def remove_log(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


def replace_log(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    log.rename(log.with_suffix(".away"))
    log.write_text("of another process")


def log_of(path: Path) -> str:
    return path.with_name(path.name + "-wal").read_text()


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.append([event("t", "x")]),
        lambda store: store.ping(),
        lambda store: get_event(store, "t", "x"),
        lambda store: read_page(store, Query()),
        lambda store: store.stats(),
    ],
    ids=["append", "ping", "get", "read", "stats"],
)
async def test_a_store_that_is_not_open_says_so(
    path: Path, call: Callable[[InProcessStore], Awaitable[object]]
) -> None:
    with pytest.raises(StorageUnavailable, match=r"^the SQLite store is not open$"):
        await call(InProcessStore(path))


async def test_a_row_that_the_database_passes_over_is_told_and_nothing_is_stored(
    store: InProcessStore, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as stranger:
        stranger.execute(
            "CREATE TRIGGER pass_over BEFORE INSERT ON events WHEN new.event_id = 'b' "
            "BEGIN SELECT RAISE(IGNORE); END"
        )
    with pytest.raises(BatchRefused) as caught:
        await store.append([event("t", name) for name in "abc"])
    assert str(caught.value) == "SQLite stored 2 of 3 new events; nothing was committed"
    assert (await store.stats()).topics == {}


async def test_what_is_in_a_log_that_lost_its_name_is_saved(
    store: InProcessStore, path: Path
) -> None:
    await store.append([event("t", "a")])
    remove_log(path)
    with pytest.raises(StorageUnavailable, match="-wal', a part of the database"):
        await store.append([event("t", "b")])
    assert in_the_file_itself(path) == ["a"]


@pytest.mark.usefixtures("processes")
async def test_closing_leaves_a_log_that_is_another_s_alone(
    store: InProcessStore, path: Path
) -> None:
    await store.append([event("t", "a")])
    replace_log(path)
    await store.aclose()
    # Connections that are merely forgotten are closed as well.
    gc.collect()
    assert log_of(path) == "of another process"


async def test_a_ping_that_finds_a_file_missing_lets_the_writer_save_its_log(
    store: InProcessStore, path: Path
) -> None:
    await store.append([event("t", "a")])
    remove_log(path)
    assert in_the_file_itself(path) == []
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="-wal', a part of the database"):
            await store.ping()
    assert in_the_file_itself(path) == ["a"]


@pytest.mark.parametrize(
    "find",
    [lambda store: get_event(store, "t", "a"), lambda store: store.append([event("t", "b")])],
    ids=["read", "append"],
)
async def test_once_damage_was_found_nothing_is_stored_until_it_is_opened_anew(
    path: Path, find: Callable[[InProcessStore], Awaitable[object]]
) -> None:
    store = InProcessStore(path)
    await store.open()
    await store.append([event("t", "a")])
    await store.aclose()
    sound = damage_all_but_the_schema(path, spare="writers")
    await store.open()
    with pytest.raises(StorageUnavailable, match=r"^SQLite: .*malformed"):
        await find(store)
    sentence = (
        f"the database file '{path}' is damaged (SQLite: database disk image is malformed), "
        "nothing more is stored in it: stop the aggregator, see what `python -m aggregator "
        "verify` finds, and restore the file"
    )
    for _ in range(2):
        with pytest.raises(StorageUnavailable) as caught:
            await store.append([event("t", "b")])
        assert str(caught.value) == sentence
        with pytest.raises(StorageUnavailable) as caught:
            await store.ping()
        assert str(caught.value) == sentence
    await store.aclose()
    restore(path, sound)
    await store.open()
    (verdict,) = (await store.append([event("t", "b")])).verdicts
    assert verdict.offset == 2
    await store.aclose()


async def test_damage_that_opening_finds_keeps_nobody_from_reading(path: Path) -> None:
    store = InProcessStore(path)
    await store.open()
    await store.append([event("t", "a")])
    await store.aclose()
    overwrite_page(path, tree(path, "writers").root, b"\xff" * PAGE_BYTES)
    await store.open()
    found = await get_event(store, "t", "a")
    assert found is not None
    for call in (store.ping, partial(store.append, [event("t", "b")])):
        with pytest.raises(StorageUnavailable, match=r"is damaged .*malformed"):
            await call()
    await store.aclose()


class FailingProbe:
    """In the place of the connection that pings."""

    def __init__(self, error: sqlite3.Error) -> None:
        self._error = error

    def executescript(self, _script: str) -> None:
        raise self._error

    def close(self) -> None: ...


async def ping_fails(store: InProcessStore, error: sqlite3.Error) -> str:
    probe, store.writer._probe = store.writer._probe, FailingProbe(error)  # type: ignore[assignment]
    with pytest.raises(StorageUnavailable) as caught:
        await store.ping()
    store.writer._probe = probe
    return str(caught.value)


async def test_a_ping_tells_what_failed(store: InProcessStore) -> None:
    error = failure(sqlite3.SQLITE_IOERR_LOCK)
    assert await ping_fails(store, error) == "SQLite: what the driver says"
    await store.append([event("t", "a")])
    # An error of the Python module itself has no code.
    assert await ping_fails(store, sqlite3.ProgrammingError("closed")) == "SQLite: closed"
    assert await ping_fails(store, failure(sqlite3.SQLITE_CORRUPT)) == (
        "SQLite: what the driver says"
    )
    with pytest.raises(StorageUnavailable, match="is damaged"):
        await store.append([event("t", "b")])


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (StorageMisconfigured("not to be used"), "not to be used"),
        (failure(sqlite3.SQLITE_CANTOPEN), "SQLite: what the driver says"),
    ],
)
async def test_a_connection_that_cannot_be_replaced_is_told_and_tried_again(
    store: InProcessStore, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def fail(*_arguments: object) -> sqlite3.Connection:
        raise error

    writer, store.writer._connection = store.writer._connection, None
    assert writer is not None
    writer.close()
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_writer, "open_writer", fail)
        with pytest.raises(StorageUnavailable) as caught:
            await store.append([event("t", "a")])
    assert str(caught.value) == sentence
    (verdict,) = (await store.append([event("t", "a")])).verdicts
    assert verdict.offset == 1


def test_a_connection_that_is_closed_or_still_in_a_transaction_is_spent() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    assert not sqlite_transaction.is_spent(connection)
    connection.execute("BEGIN")
    assert sqlite_transaction.is_spent(connection)
    connection.execute("ROLLBACK")
    assert not sqlite_transaction.is_spent(connection)
    connection.close()
    assert sqlite_transaction.is_spent(connection)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (failure(sqlite3.SQLITE_CORRUPT), True),
        (failure(sqlite3.SQLITE_CORRUPT_INDEX), True),
        (failure(sqlite3.SQLITE_NOTADB), True),
        (failure(sqlite3.SQLITE_IOERR), False),
        (sqlite3.ProgrammingError("no code"), False),
        (StorageUnavailable("not the driver's"), False),
        (None, False),
    ],
)
def test_which_errors_tell_of_damage(error: BaseException | None, expected: bool) -> None:
    assert sqlite_transaction.reports_damage(error) == expected
