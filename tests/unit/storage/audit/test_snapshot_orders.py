"""Each order of a snapshot comes from the one place it says, or not at all."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

import pytest
from support.backends import Database
from support.events import event
from support.verifying import INDEXES, copy_of_a, execute, fill, forget_index

from storage.audit.snapshot import LogDamaged
from storage.backends import postgres_snapshot, sqlite_snapshot
from storage.postgres.snapshot import PostgresSnapshot
from storage.sqlite.snapshot import SqliteSnapshot

BATCH = [event("orders", "a"), event("orders", "b")]
NO_KEY = "ALTER TABLE events DROP CONSTRAINT events_topic_event_id_key"


@pytest.fixture
def filled(database: Database) -> Database:
    fill(database, BATCH)
    return database


@pytest.fixture
def of_postgres(filled: Database) -> Iterator[PostgresSnapshot]:
    snapshot = postgres_snapshot(filled.dsn)
    assert isinstance(snapshot, PostgresSnapshot)
    with closing(snapshot):
        yield snapshot


def statements_of(database: Database) -> dict[str, str]:
    """What a SQLite snapshot runs for each of its orders."""
    snapshot = sqlite_snapshot(database.path)
    assert isinstance(snapshot, SqliteSnapshot)
    run: list[str] = []
    with closing(snapshot):
        snapshot.open()
        snapshot._connection.set_trace_callback(run.append)
        orders: dict[str, Callable[[], Iterable[object] | None]] = {
            "rows": snapshot.rows,
            "table": snapshot.table,
            "keys": snapshot.key_index,
            "ranges": snapshot.ranges,
            "doubled": lambda: snapshot.doubled_keys(1),
        }
        found = {}
        for name, read in orders.items():
            list(read() or ())
            found[name] = run[-1]
        snapshot._connection.set_trace_callback(None)
    return found


@pytest.mark.parametrize("backend", ["sqlite"])
def test_sqlite_is_told_which_index_to_read(filled: Database) -> None:
    table, key = (f" INDEXED BY sqlite_autoindex_events_{n}" for n in (1, 2))
    run = statements_of(filled)
    assert [name for name, sql in run.items() if table in sql] == ["rows", "table", "doubled"]
    assert key in run["keys"]
    assert " INDEXED BY sqlite_autoindex_appends_1" in run["ranges"]
    forget_index(filled, INDEXES["sqlite"]["key"])
    execute(filled, "VACUUM")
    assert table in statements_of(filled)["keys"]


@pytest.mark.parametrize("backend", ["postgres"])
def test_an_index_that_is_gone_is_not_read(filled: Database, of_postgres: PostgresSnapshot) -> None:
    execute(filled, "ALTER TABLE appends DROP CONSTRAINT appends_pkey")
    of_postgres.open()
    assert of_postgres.range_index() is None


@pytest.mark.parametrize("backend", ["postgres"])
def test_without_its_indexes_postgres_reads_the_table(
    filled: Database, of_postgres: PostgresSnapshot
) -> None:
    execute(filled, NO_KEY, "ALTER TABLE events DROP CONSTRAINT events_pkey")
    of_postgres.open()
    assert of_postgres.place_index() is None
    rows = [tuple(row) for block in of_postgres.key_index() for row in block]
    assert rows == [("orders", "a"), ("orders", "b")]


@pytest.mark.parametrize("backend", ["postgres"])
def test_of_many_doubled_keys_as_many_are_named_as_are_asked_for(
    filled: Database, of_postgres: PostgresSnapshot
) -> None:
    execute(filled, NO_KEY, copy_of_a("3"), copy_of_a("4", "'b'"), copy_of_a("5", "'b'"))
    of_postgres.open()
    assert [tuple(row) for row in of_postgres.doubled_keys(1)] == [("orders", "a", 2)]
    assert [tuple(row) for row in of_postgres.doubled_keys(9)] == [
        ("orders", "a", 2),
        ("orders", "b", 3),
    ]


@pytest.mark.parametrize("backend", ["postgres"])
def test_counts_that_are_missing_end_the_reading(
    filled: Database, of_postgres: PostgresSnapshot
) -> None:
    execute(
        filled,
        "ALTER TABLE topics ALTER received DROP NOT NULL",
        "UPDATE topics SET received = NULL",
    )
    of_postgres.open()
    with pytest.raises(LogDamaged) as caught:
        list(of_postgres.counts())
    assert str(caught.value) == "Postgres: a column that must not be NULL is NULL"
