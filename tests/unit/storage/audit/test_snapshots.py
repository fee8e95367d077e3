"""A snapshot is one moment, writes nothing, and reads each order from where it says."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from support.backends import Database
from support.events import event
from support.verifying import ORDERS, SHIPMENTS, SOUND, execute, fill, verified

from aggregator.commands.verify.row_rules import row_rule_broken
from storage.audit.recount import Audit
from storage.audit.snapshot import LogSnapshot
from storage.backends import postgres_snapshot as on_postgres
from storage.backends import sqlite_snapshot as on_sqlite
from storage.errors import StorageMisconfigured
from storage.postgres import snapshot as postgres_snapshot
from storage.postgres.snapshot import INDEX_ALONE, TABLE_ALONE, PostgresSnapshot
from storage.sqlite import snapshot as sqlite_snapshot
from storage.sqlite.snapshot import SqliteSnapshot

LARGE = '{"x":"' + "y" * 100_000 + '"}'


def snapshot_of(database: Database) -> LogSnapshot:
    if database.backend == "sqlite":
        return on_sqlite(database.path)
    return on_postgres(database.dsn)


@pytest.fixture
def snapshot(database: Database) -> Iterator[LogSnapshot]:
    """An open snapshot of a database with two topics."""
    fill(database, ORDERS, SHIPMENTS)
    snapshot = snapshot_of(database)
    with closing(snapshot):
        snapshot.open()
        yield snapshot


def fetch(snapshot: LogSnapshot, sql: str) -> Any:
    """The first value of a statement, run in the snapshot's own transaction."""
    if isinstance(snapshot, PostgresSnapshot):
        return snapshot._run(snapshot._fetch(sql))[0][0]
    assert isinstance(snapshot, SqliteSnapshot)
    return snapshot._connection.execute(sql).fetchone()[0]


def test_what_is_stored_meanwhile_is_not_part_of_it(
    database: Database, snapshot: LogSnapshot
) -> None:
    def store_more(_what: str, _rows: int) -> None:
        numbers = iter(range(1000))
        fill(database, [event(t, f"late-{next(numbers)}") for t in ("a", "orders", "z")])

    audit = Audit(snapshot, row_rule_broken, store_more)
    found = [(topic.topic, topic.rows, topic.differences) for topic in audit.topics()]
    assert found == [("orders", 3, 0), ("shipments", 2, 0)]
    assert audit.differences.sentences == []
    assert verified(database).code == 0
    assert "a " in verified(database).out


@pytest.mark.parametrize("backend", ["sqlite"])
def test_nothing_beside_the_file_changes(database: Database) -> None:
    fill(database, ORDERS, SHIPMENTS)
    before = directory(database.path.parent)
    assert list(before) == [database.path.name]
    assert verified(database).out == SOUND
    assert directory(database.path.parent) == before


def directory(path: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()}


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_sqlite_snapshot_can_not_write(snapshot: LogSnapshot) -> None:
    with pytest.raises(Exception, match="readonly database"):
        fetch(snapshot, "DELETE FROM events")


@pytest.mark.parametrize("backend", ["postgres"])
def test_the_postgres_snapshot_is_one_transaction_that_can_not_write(snapshot: LogSnapshot) -> None:
    assert fetch(snapshot, "SHOW transaction_read_only") == "on"
    assert fetch(snapshot, "SHOW transaction_isolation") == "repeatable read"
    now = fetch(snapshot, "SELECT now()::text")
    assert list(snapshot.rows())
    assert fetch(snapshot, "SELECT now()::text") == now


@pytest.mark.parametrize("backend", ["postgres"])
def test_no_limit_of_time_of_the_database_holds(database: Database) -> None:
    fill(database, ORDERS)
    with closing(cast("PostgresSnapshot", snapshot_of(database))) as snapshot:
        for name in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"):
            execute(database, f"ALTER DATABASE {database_name(database)} SET {name} = 60000")
        snapshot.open()
        newer = fetch(snapshot, "SELECT count(*) FROM pg_settings WHERE name='transaction_timeout'")
        assert fetch(snapshot, "SHOW statement_timeout") == "0"
        assert fetch(snapshot, "SHOW idle_in_transaction_session_timeout") == "0"
        assert fetch(snapshot, "SHOW lock_timeout") == "0"
        assert not newer or fetch(snapshot, "SHOW transaction_timeout") == "0"


@pytest.mark.parametrize("backend", ["postgres"])
def test_a_transaction_timeout_of_the_database_does_not_hold(database: Database) -> None:
    fill(database, ORDERS)
    with closing(cast("PostgresSnapshot", snapshot_of(database))) as snapshot:
        snapshot.open()
        if not fetch(
            snapshot, "SELECT count(*) FROM pg_settings WHERE name = 'transaction_timeout'"
        ):
            return  # older than 17: there is none
    execute(database, f"ALTER DATABASE {database_name(database)} SET transaction_timeout = 60000")
    with closing(cast("PostgresSnapshot", snapshot_of(database))) as snapshot:
        snapshot.open()
        assert fetch(snapshot, "SHOW transaction_timeout") == "0"


def database_name(database: Database) -> str:
    return database.dsn.partition("?")[0].rsplit("/", 1)[1]


def test_large_payloads_are_read_whole(database: Database) -> None:
    fill(database, [event("orders", f"e-{n}", LARGE if n % 2 else "{}") for n in range(4)])
    with closing(snapshot_of(database)) as snapshot:
        snapshot.open()
        assert sorted(len(row[6]) for row in snapshot.rows()) == [2, 2, len(LARGE), len(LARGE)]


@pytest.mark.parametrize("backend", ["postgres"])
def test_a_block_holds_no_large_payload(database: Database) -> None:
    fill(database, [event("orders", f"e-{n}", LARGE) for n in range(4)])
    with closing(cast("PostgresSnapshot", snapshot_of(database))) as snapshot:
        snapshot.open()
        (block,) = snapshot._blocks(TABLE_ALONE, postgres_snapshot.ROWS)
        assert [row[6] for row in block] == [None] * 4


def plan(snapshot: PostgresSnapshot, sql: str, ways: dict[str, str]) -> list[str]:
    """The nodes of the plan, outermost first, and what they read."""

    async def explain() -> str:
        await snapshot._plan_with(ways)
        explained = sql.replace("$1", "20")
        text: str = await snapshot._connection.fetchval(f"EXPLAIN (FORMAT JSON) {explained}")
        return text

    node = json.loads(snapshot._run(explain()))[0]["Plan"]
    nodes = []
    while True:
        what = node.get("Index Name") or node.get("Relation Name", "")
        nodes.append(f"{node['Node Type']} {what}".strip())
        if "Plans" not in node:
            return nodes
        (node,) = node["Plans"]


@pytest.mark.parametrize("backend", ["postgres"])
@pytest.mark.parametrize("analyze", [True, False])
def test_postgres_reads_the_table_without_an_index_and_an_index_without_the_table(
    database: Database, analyze: bool
) -> None:
    fill(database, ORDERS)
    execute(
        database,
        "INSERT INTO events SELECT 't', n, 'e-' || n, to_timestamp(n), to_timestamp(n), 's', '{}' "
        "FROM generate_series(1, 20000) AS n",
    )
    if analyze:
        execute(database, "VACUUM ANALYZE events")
    with closing(cast("PostgresSnapshot", snapshot_of(database))) as snapshot:
        snapshot.open()
        assert plan(snapshot, postgres_snapshot.ROWS, TABLE_ALONE) == ["Seq Scan events"]
        for sql in (postgres_snapshot.TABLE, postgres_snapshot.KEYS):
            assert plan(snapshot, sql, TABLE_ALONE) == ["Sort", "Seq Scan events"]
        assert plan(snapshot, postgres_snapshot.RANGES, TABLE_ALONE) == ["Sort", "Seq Scan appends"]
        assert plan(snapshot, postgres_snapshot.DOUBLED, TABLE_ALONE)[-1] == "Seq Scan events"
        for sql, index in (
            (postgres_snapshot.PLACES, "events_pkey"),
            (postgres_snapshot.KEYS, "events_topic_event_id_key"),
            (postgres_snapshot.RANGE_ENTRIES, "appends_pkey"),
        ):
            assert plan(snapshot, sql, INDEX_ALONE) == [f"Index Only Scan {index}"]


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("filled", [True, False])
def test_sqlite_reads_the_table_without_an_index_and_an_index_without_the_table(
    database: Database, filled: bool
) -> None:
    fill(database, ORDERS)
    if filled:
        execute(
            database,
            "INSERT INTO events WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n "
            "WHERE n < 20000) SELECT 't', n, 'e-' || n, n, n, 's', '{}' FROM n",
            "ANALYZE",
        )
    index = "USING COVERING INDEX"
    table = "events INDEXED BY sqlite_autoindex_events_1"
    key = "events INDEXED BY sqlite_autoindex_events_2"
    with closing(cast("SqliteSnapshot", snapshot_of(database))) as snapshot:
        snapshot.open()

        def steps(sql: str, source: str) -> list[str]:
            statement = sql.replace("events {indexed}", source).replace("?", "20")
            rows = snapshot._connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            return [row[3] for row in rows]

        assert steps(sqlite_snapshot._ROWS, table) == ["SCAN events"]
        assert steps(sqlite_snapshot._TABLE, table) == ["SCAN events"]
        assert steps(sqlite_snapshot._DOUBLED, table)[0] == "SCAN events"
        assert steps(sqlite_snapshot._KEYS, table)[0] == "SCAN events"
        assert steps(sqlite_snapshot._KEYS, key) == [
            f"SCAN events {index} sqlite_autoindex_events_2"
        ]
        ranges = sqlite_snapshot._RANGES.format(indexed="INDEXED BY sqlite_autoindex_appends_1")
        assert steps(ranges, "") == ["SCAN appends", "USE TEMP B-TREE FOR ORDER BY"]


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_sqlite_table_is_named_so_that_no_smaller_index_is_read_for_it(
    snapshot: LogSnapshot,
) -> None:
    """Without the name it is one: what an index lacks would then not be there at all."""
    assert isinstance(snapshot, SqliteSnapshot)
    sql = sqlite_snapshot._KEYS.format(indexed="NOT INDEXED")
    ((*_, step),) = snapshot._connection.execute(f"EXPLAIN QUERY PLAN {sql}")
    assert "sqlite_autoindex_events_2" in step


@pytest.mark.parametrize("backend", ["postgres"])
def test_an_index_that_stands_in_for_another_is_refused(database: Database) -> None:
    fill(database, ORDERS, SHIPMENTS)
    execute(
        database,
        "ALTER INDEX events_topic_event_id_key SET (fillfactor = 10)",
        "CREATE INDEX smaller ON events (topic, event_id)",
        "INSERT INTO events SELECT 't', n, 'e-' || n, to_timestamp(n), to_timestamp(n), 's', '{}' "
        "FROM generate_series(1, 20000) AS n",
        "REINDEX TABLE events",
        "VACUUM ANALYZE events",
    )
    with (
        closing(snapshot_of(database)) as snapshot,
        pytest.raises(StorageMisconfigured, match="'smaller' in place of the index 'events_topic_"),
    ):
        snapshot.open()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_ctrl_c_ends_a_long_statement(snapshot: LogSnapshot) -> None:
    def ctrl_c(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    assert isinstance(snapshot, SqliteSnapshot)
    # Some seconds of it: without a chance on the way, Ctrl-C would come after its end.
    long = """WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 30000000)
        SELECT count(*) FROM n"""
    before = signal.signal(signal.SIGVTALRM, ctrl_c)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.05)
        with pytest.raises(KeyboardInterrupt) as caught, snapshot._translated():
            snapshot._execute(long).fetchone()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert str(caught.value.__cause__) == "interrupted"
