"""What `python -m aggregator verify` refuses: one sentence, exit status 2, nothing touched."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from service.conftest import OwnDatabase
from support.backends import Database, PostgresServer
from support.command import environment, run_to_end
from support.processes import wait_for
from support.verifying import ORDERS, fill

from storage.migrations import migrations

ID = f"PRAGMA application_id = {0x45564C47}"
VERSION = f"{ID}; PRAGMA user_version = {migrations('sqlite')[-1].version}"


def refused(cwd: Path, *arguments: str) -> str:
    """Run it, expect one sentence and exit code 2, and return the sentence."""
    ended = run_to_end("verify", *arguments, cwd=cwd)
    assert (ended.code, ended.out) == (2, ""), ended
    assert ended.err.count("\n") == 1, ended.err
    return ended.err.removeprefix("aggregator: ").strip()


def names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "1"], "--port"),
        (["orders"], "orders"),
        (["--backend", "postgres"], "needs --dsn"),
        (["--dsn", "postgresql://u:hush4711@[db/x"], "bracket"),
        (["--dsn", "postgresql://u:hush4711@127.0.0.1:port/x"], "DSN"),
        (["--dsn", "postgresql://u:hush4711@127.0.0.1:1/x"], "out of reach"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_the_command_line_is_one_sentence(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    sentence = refused(tmp_path, *arguments)
    assert words in sentence
    assert "hush4711" not in sentence
    assert names(tmp_path) == []


def test_a_file_that_is_not_there_is_one_sentence_and_is_not_made(tmp_path: Path) -> None:
    assert refused(tmp_path) == "can't read 'aggregator.db': No such file or directory"
    assert names(tmp_path) == []


def test_a_directory_is_one_sentence(tmp_path: Path) -> None:
    sentence = refused(tmp_path, "--database", str(tmp_path))
    assert sentence == f"can't read '{tmp_path}': it is not a file"


@pytest.mark.parametrize("content", [b"", b"notes, not a database\n" * 1000])
def test_a_file_that_is_no_database_is_one_sentence_and_untouched(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    assert "notes.txt" in refused(tmp_path, "--database", str(file))
    assert names(tmp_path) == ["notes.txt"]
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["CREATE TABLE photos (name TEXT)"], "not a database of this program"),
        ([ID, "PRAGMA user_version = 99"], "schema version 99"),
        ([ID, "CREATE TABLE events (topic)"], "schema version 0"),
        ([ID, "PRAGMA user_version = 1"], "schema version 1, older than"),
        ([ID, VERSION, "CREATE TABLE other (x)"], "no such table"),
    ],
)
def test_a_database_that_is_not_of_this_version_is_one_sentence_and_untouched(
    tmp_path: Path, statements: list[str], words: str
) -> None:
    file = tmp_path / "some.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            connection.executescript(statement)
    before = file.read_bytes()
    assert words in refused(tmp_path, "--database", str(file))
    assert file.read_bytes() == before
    assert names(tmp_path) == ["some.db"]


def test_a_file_beside_which_sqlite_can_make_none_is_one_sentence(tmp_path: Path) -> None:
    database = Database("sqlite", tmp_path / "events.db", "")
    fill(database, ORDERS)
    (tmp_path / "events.db-wal").mkdir()
    sentence = refused(tmp_path, *database.arguments())
    assert "run this as the aggregator's user, or on a copy" in sentence


def test_postgres_without_a_log_is_one_sentence_and_untouched(
    tmp_path: Path, own_database: OwnDatabase
) -> None:
    assert "holds no log of this program" in refused(tmp_path, *own_database.arguments())
    own_database.execute("DO $$ BEGIN ASSERT to_regclass('aggregator_schema') IS NULL; END $$")


@pytest.mark.parametrize(
    ("change", "version"),
    [
        ("UPDATE aggregator_schema SET version = 99 WHERE version = 1", 99),
        ("DELETE FROM aggregator_schema WHERE version > 1", 1),
    ],
)
def test_another_schema_version_on_postgres_is_one_sentence(
    tmp_path: Path, own_database: OwnDatabase, change: str, version: int
) -> None:
    fill(Database("postgres", tmp_path, own_database.dsn), ORDERS)
    own_database.execute(change)
    assert f"schema version {version}" in refused(tmp_path, *own_database.arguments())


def test_a_database_that_postgres_does_not_have_is_one_sentence(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    dsn = postgres_server.database_dsn("no_such_database")
    assert "no_such_database" in refused(tmp_path, "--dsn", dsn)


def test_postgres_that_may_not_be_read_is_one_sentence(
    tmp_path: Path, own_database: OwnDatabase
) -> None:
    fill(Database("postgres", tmp_path, own_database.dsn), ORDERS)
    own_database.server.execute("CREATE ROLE visitor LOGIN")
    try:
        name = own_database.dsn.partition("?")[0].rsplit("/", 1)[1]
        dsn = own_database.server.dsn_for("visitor", database=name)
        assert "permission denied" in refused(tmp_path, "--dsn", dsn)
    finally:
        own_database.server.execute("DROP ROLE visitor")


def test_postgres_that_goes_meanwhile_is_one_sentence(
    tmp_path: Path, own_database: OwnDatabase
) -> None:
    fill(Database("postgres", tmp_path, own_database.dsn), ORDERS)
    # Holds it up where it reads the table of events.
    own_database.execute(
        "INSERT INTO events SELECT 't', n, n, now(), now(), 's', '{}' "
        "FROM generate_series(1, 200000) AS n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "aggregator", "verify", *own_database.arguments()],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: own_database.server.log.exists() and reading(own_database), "it to read")
    own_database.server.close()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2, err
    assert err.count(b"\n") == 1, err
    assert err.startswith(b"aggregator: Postgres")


def reading(database: OwnDatabase) -> bool:
    try:
        database.execute(
            "DO $$ BEGIN ASSERT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = "
            "'pubsub-log-aggregator verify' AND query LIKE '%ctid%'); END $$"
        )
    except asyncpg.AssertError:
        return False
    return True
