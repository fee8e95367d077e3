"""What can't be read is told in a sentence that says what it is, and what to do."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from support.backends import Database
from support.events import event
from support.verifying import ORDERS, execute, fill

from storage.audit.snapshot import LogDamaged, LogSnapshot
from storage.backends import postgres_snapshot, sqlite_snapshot
from storage.errors import StorageError, StorageMisconfigured, StorageUnavailable
from storage.migrations import migrations
from storage.postgres.snapshot import PostgresSnapshot, _translate
from storage.sqlite.snapshot import SqliteSnapshot

MAY_NOT = (
    "can't read 'log.db': what the driver says; SQLite has to read the file and to make others "
    "beside it: run this as the aggregator's user, or on a copy"
)


def snapshot_of(database: Database) -> LogSnapshot:
    if database.backend == "sqlite":
        return sqlite_snapshot(database.path)
    return postgres_snapshot(database.dsn)


def refused(snapshot: LogSnapshot) -> str:
    with closing(snapshot), pytest.raises(StorageMisconfigured) as caught:
        snapshot.open()
    return str(caught.value)


def failure(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("what the driver says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "read",
    [
        lambda snapshot: snapshot.extent(),
        lambda snapshot: list(snapshot.rows()),
        lambda snapshot: list(snapshot.table()),
        lambda snapshot: snapshot.doubled_keys(1),
    ],
    ids=["extent", "rows", "table", "doubled_keys"],
)
def test_a_snapshot_that_is_not_open_says_so(
    database: Database, read: Callable[[LogSnapshot], object]
) -> None:
    snapshot = snapshot_of(database)
    with pytest.raises(StorageUnavailable, match=r"^the snapshot is not open$"):
        read(snapshot)
    fill(database, [event("t", "a")])
    snapshot.open()
    read(snapshot)
    snapshot.close()
    snapshot.close()
    with pytest.raises(StorageUnavailable, match=r"^the snapshot is not open$"):
        read(snapshot)


def test_a_log_of_an_older_schema_is_left_to_the_aggregator(database: Database) -> None:
    fill(database, [event("t", "a")])
    if database.backend == "sqlite":
        execute(database, "PRAGMA user_version = 0")
        whose = f"'{database.path}'"
    else:
        execute(database, "DELETE FROM aggregator_schema")
        whose = "the Postgres database"
    newest = migrations(database.backend)[-1].version
    assert refused(snapshot_of(database)) == (
        f"{whose} has schema version 0, older than the version {newest} of this program: let the "
        "aggregator bring it up to date"
    )


@pytest.mark.parametrize("backend", ["postgres"])
def test_a_postgres_database_without_a_log_is_refused(database: Database) -> None:
    assert refused(snapshot_of(database)) == (
        "the Postgres database holds no log of this program: give the DSN of one that does"
    )


@pytest.mark.parametrize(
    ("dsn", "sentence"),
    [
        ("http://somewhere/", "the DSN can't be used: invalid DSN"),
        ("postgresql://u:p@host:port/db", "the DSN can't be used: it, or a PG..."),
    ],
)
def test_a_dsn_that_can_not_be_used_is_refused(dsn: str, sentence: str) -> None:
    assert refused(postgres_snapshot(dsn)).startswith(sentence)


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    assert refused(sqlite_snapshot(missing)) == f"can't read '{missing}': No such file or directory"
    assert not missing.exists()
    assert refused(sqlite_snapshot(tmp_path)) == f"can't read '{tmp_path}': it is not a file"
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as stranger:
        stranger.execute("CREATE TABLE notes (x)")
    assert refused(sqlite_snapshot(other)) == f"'{other}' is not a database of this program"
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Sir or Madam, " * 100)
    assert refused(sqlite_snapshot(letter)) == f"can't read '{letter}': file is not a database"


@pytest.mark.parametrize(
    ("error", "expected", "sentence"),
    [
        (failure(sqlite3.SQLITE_CORRUPT_INDEX), LogDamaged, "SQLite: what the driver says"),
        (failure(sqlite3.SQLITE_NOTADB), StorageMisconfigured,
         "can't read 'log.db': what the driver says"),
        (failure(sqlite3.SQLITE_CANTOPEN_ISDIR), StorageMisconfigured, MAY_NOT),
        (failure(sqlite3.SQLITE_READONLY_DIRECTORY), StorageMisconfigured, MAY_NOT),
        (failure(sqlite3.SQLITE_PERM), StorageMisconfigured, MAY_NOT),
        (failure(sqlite3.SQLITE_BUSY), StorageUnavailable, "SQLite: what the driver says"),
        (sqlite3.ProgrammingError("closed"), StorageUnavailable, "SQLite: closed"),
    ],
)  # fmt: skip
def test_what_sqlite_can_not_open_is_told(
    error: sqlite3.Error, expected: type[StorageError], sentence: str
) -> None:
    told = SqliteSnapshot(Path("log.db"))._unusable(error)
    assert (type(told), str(told)) == (expected, sentence)


@pytest.mark.parametrize(
    ("error", "expected", "sentence"),
    [
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), LogDamaged,
         "Postgres: a text is not UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: no"),
        (asyncpg.DataCorruptedError("bad page"), LogDamaged, "Postgres: bad page"),
        (asyncpg.CharacterNotInRepertoireError("bad byte"), LogDamaged, "Postgres: bad byte"),
        (asyncpg.PostgresIOError("no file"), LogDamaged, "Postgres: no file"),
        (asyncpg.AdminShutdownError("bye"), StorageUnavailable, "Postgres: bye"),
        (asyncpg.PostgresError("no code"), StorageUnavailable, "Postgres: no code"),
        (ConnectionResetError("cut"), StorageUnavailable, "Postgres is out of reach: cut"),
    ],
)  # fmt: skip
async def test_what_postgres_can_not_read_is_told(
    error: Exception, expected: type[StorageError], sentence: str
) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(StorageError) as caught:
        await _translate(fail())
    assert (type(caught.value), str(caught.value)) == (expected, sentence)


def make_strict(database: Database, *, strict: bool) -> None:
    before, after = ("WITHOUT ROWID", "STRICT, WITHOUT ROWID")[:: 1 if strict else -1]
    execute(
        database,
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_schema SET sql = replace(sql, '{before}', '{after}') WHERE name = 'events'",
    )


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_value_of_another_type_is_named_and_ends_the_reading(database: Database) -> None:
    fill(database, [event("t", "a")])
    make_strict(database, strict=False)
    execute(database, "UPDATE events SET source = x'00'")
    make_strict(database, strict=True)
    with closing(snapshot_of(database)) as snapshot:
        snapshot.open()
        assert list(snapshot.faults()) == ["SQLite: non-TEXT value in events.source"]
        with pytest.raises(LogDamaged) as caught:
            list(snapshot.rows())
    assert str(caught.value) == "SQLite: a column holds a value of another type"


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_a_companion_that_was_there_is_left_there(database: Database, end: str) -> None:
    fill(database, [event("t", "a")])
    companion = Path(f"{database.path}{end}")
    companion.touch()
    with closing(snapshot_of(database)) as snapshot:
        snapshot.open()
        assert len(list(snapshot.rows())) == 1
    assert companion.exists()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_what_can_not_be_tidied_up_is_left(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: SqliteSnapshot, _mode: str) -> sqlite3.Connection:
        raise failure(sqlite3.SQLITE_CANTOPEN)

    fill(database, [event("t", "a")])
    snapshot = snapshot_of(database)
    snapshot.open()
    monkeypatch.setattr(SqliteSnapshot, "_connect", fail)
    snapshot.close()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_long_statement_is_read_to_its_end(database: Database) -> None:
    fill(database, [event("t", "a")])
    snapshot = SqliteSnapshot(database.path)
    with closing(snapshot):
        snapshot.open()
        sql = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 200000) "
        assert snapshot._execute(sql + "SELECT count(*) FROM n").fetchone() == (200_000,)


@pytest.mark.parametrize("backend", ["postgres"])
@pytest.mark.parametrize(
    "error",
    [ConnectionResetError, TimeoutError, asyncpg.AdminShutdownError, asyncpg.InterfaceError],
)
def test_a_connection_that_is_lost_is_closed_in_silence(
    database: Database, error: type[Exception]
) -> None:
    class Lost:
        async def close(self, **_options: float) -> None:
            raise error("gone")

    fill(database, [event("t", "a")])
    snapshot = postgres_snapshot(database.dsn)
    assert isinstance(snapshot, PostgresSnapshot)
    snapshot.open()
    assert snapshot._open is not None
    snapshot._open.terminate()
    snapshot._open = Lost()  # type: ignore[assignment]
    snapshot.close()
    snapshot.close()


@pytest.mark.parametrize("backend", ["postgres"])
@pytest.mark.parametrize("what", ["the next block", "rows", "counts", "extent", "doubled_keys"])
def test_a_session_seen_to_be_ended_between_two_blocks_is_unavailable(
    database: Database, what: str
) -> None:
    fill(database, ORDERS)
    snapshot = postgres_snapshot(database.dsn)
    assert isinstance(snapshot, PostgresSnapshot)
    snapshot.block_rows = 1
    snapshot.open()
    blocks = snapshot.table()
    next(blocks)
    execute(
        database,
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    assert snapshot._runner is not None
    assert snapshot._open is not None
    while not snapshot._open.is_closed():
        snapshot._runner.run(asyncio.sleep(0.001))
    asked: dict[str, Callable[[], object]] = {
        "the next block": lambda: next(blocks),
        "rows": lambda: next(snapshot.rows()),
        "counts": lambda: next(snapshot.counts()),
        "extent": snapshot.extent,
        "doubled_keys": lambda: snapshot.doubled_keys(1),
    }
    with pytest.raises(StorageUnavailable):
        asked[what]()
    snapshot.close()
