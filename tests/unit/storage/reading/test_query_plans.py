"""Every look-up is by index: its cost does not grow with the log."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.backends import Database
from support.events import event
from support.in_process import InProcessStore
from support.observer import Observer
from support.reading import get_event

from storage.postgres.optimistic_append import PROBE_WITH_TOPICS
from storage.postgres.probe import PROBE
from storage.postgres.store import PostgresStore
from storage.protocols import EventStore
from storage.reading import log_reader, offset_search
from storage.reading.log_reader import LogReader
from storage.reading.offset_ranges import OffsetRange
from storage.sqlite import transaction as sqlite_transaction
from storage.sqlite.reader import SqliteReader

_ROWS = 20_000
_KEYS = [f"e-{n}" for n in range(100)]


async def fill(observer: Observer, *, analyze: bool = True) -> None:
    """Many events in one topic, so that an index by topic alone would read them all.

    Without `analyze` the planner knows what it knew of the empty table.
    """
    numbers = (
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) "
        if not isinstance(observer, PostgresObserver)
        else f"WITH n AS (SELECT generate_series(1, {_ROWS}) AS n) "
    )
    time = "to_timestamp(n)" if isinstance(observer, PostgresObserver) else "n"
    await observer.fetch(
        f"INSERT INTO events {numbers} SELECT 't', n, 'e-' || n, {time}, {time}, 's', '{{}}' FROM n"
    )
    await observer.fetch(f"INSERT INTO appends {numbers} SELECT {time}, 't', n, n FROM n")
    if analyze:
        await observer.fetch("ANALYZE")


class PostgresObserver(Observer):
    """Looks with the connection of a store, which has the store's settings."""


@pytest.fixture
def store(in_process_store: EventStore) -> EventStore:
    """Plans do not depend on the process that runs a statement."""
    return in_process_store


@pytest.fixture
async def session(database: Database, store: EventStore) -> AsyncIterator[Observer]:
    if isinstance(store, PostgresStore):
        assert store._writers is not None
        async with store._writers.driver_pool.acquire() as connection:
            yield PostgresObserver(connection)
    else:
        async with Observer.on(database) as observer:
            yield observer


async def postgres_plan(session: Observer, sql: str, *arguments: Any) -> list[dict[str, Any]]:
    """The nodes of the plan, outermost first."""
    ((text,),) = await session.fetch(f"EXPLAIN (FORMAT JSON) {sql}", *arguments)
    nodes: list[dict[str, Any]] = []
    todo = [json.loads(text)[0]["Plan"]]
    while todo:
        nodes.append(todo.pop(0))
        todo += nodes[-1].get("Plans", [])
    return nodes


async def sqlite_plan(session: Observer, sql: str, arguments: dict[str, Any]) -> list[str]:
    rows = session.connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments)
    return [row[3] for row in rows]


async def fill_topics(observer: Observer) -> None:
    """A few events in each of many topics: so few that to read all of a topic seems cheap."""
    await observer.fetch(
        "INSERT INTO events SELECT 't-' || n % 1000, n / 1000 + 1, 'e-' || n, now(), now(), 's', "
        "'{}' FROM generate_series(0, 2999) AS n"
    )
    await observer.fetch("ANALYZE")


@pytest.mark.parametrize("backend", ["postgres"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("filled", [None, fill, fill_topics])
@pytest.mark.parametrize(
    ("probe", "topics_of"),
    [(PROBE, ""), (PROBE_WITH_TOPICS, ", '{t}'")],
)
async def test_the_postgres_probe_looks_each_key_up_in_the_unique_index(
    session: Observer,
    filled: Callable[[Observer], Awaitable[None]] | None,
    mode: str,
    probe: str,
    topics_of: str,
) -> None:
    if filled is not None:
        await filled(session)
    await session.fetch(f"SET plan_cache_mode = {mode}")
    # Explained as it is, a statement gets the plan for its very arguments in either mode.
    await session.fetch(f"PREPARE probe AS {probe}")
    topics, keys = "\x1f".join(["t"] * len(_KEYS)), "\x1f".join(_KEYS)
    nodes = await postgres_plan(session, f"EXECUTE probe('{topics}', '{keys}', 4096{topics_of})")
    (look_up,) = [node for node in nodes if node.get("Relation Name") == "events"]
    assert look_up["Node Type"] == "Index Scan"
    assert look_up["Index Name"] == "events_topic_event_id_key"
    # Their columns come from unnest in the SELECT list.
    assert "(event_id = (unnest(" in look_up["Index Cond"]
    assert "(topic = (unnest(" in look_up["Index Cond"]
    assert not {node["Node Type"] for node in nodes} & {"Hash Join", "Merge Join"}


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("filled", [False, True])
async def test_the_sqlite_probe_is_driven_from_the_keys(session: Observer, filled: bool) -> None:
    if filled:
        await fill(session)
    wanted = json.dumps({"t": _KEYS})
    first, second, third = await sqlite_plan(
        session, sqlite_transaction.PROBE, {"1": wanted, "2": 4096}
    )
    assert first.startswith("SCAN wanted VIRTUAL TABLE")
    assert second.startswith("SCAN id VIRTUAL TABLE")
    assert third.startswith("SEARCH events USING ")
    assert third.endswith("(topic=? AND event_id=?)")


async def test_the_probe_finds_the_stored_keys_among_many(
    session: Observer, store: EventStore
) -> None:
    await fill(session)
    found = await get_event(store, "t", "e-19999")
    assert found is not None
    assert found.offset == 19_999


_RANGES = [OffsetRange("t", 5, 9), OffsetRange("t", 19_000, 19_050)]
_PLACE = [10**6, "t", 5, 10**10, 65]


def statements(reader: LogReader) -> dict[str, tuple[str, list[Any]]]:
    """The statements that read, with arguments."""
    sql, arguments = reader.sql, list(reader.decoder.range_arguments(_RANGES))
    return {
        "columns": (sql.columns, ["t", 19_000, 19_100, 4096]),
        "head and columns": (sql.head_and_columns, ["t", 19_000, 19_100, 4096]),
        "columns of ranges": (sql.columns_of_ranges, [*arguments, 4096]),
        "matches": (sql.matches, [*arguments, "rare"]),
        "event": (sql.event, ["t", "e-5", 4096]),
        "payload": (sql.payload, ["t", 5, 4096]),
        "payload bytes": (sql.payload_bytes, ["t", 5]),
        "bisect": (offset_search.BISECT, ["t", 10**9, _ROWS]),
        "heads by prefix": (log_reader.HEADS_BY_PREFIX.format(behind=">"), ["t", "t\x7f", 1000]),
        "ranges from": (log_reader.RANGES_FROM, _PLACE),
        "ranges before": (log_reader.RANGES_BEFORE, _PLACE),
    }


@pytest.mark.parametrize("analyze", [True, False])
@pytest.mark.parametrize("name", statements(SqliteReader(Path(), busy_timeout_s=1)))
async def test_a_read_follows_an_index_in_its_order(
    session: Observer, store: EventStore, name: str, analyze: bool
) -> None:
    await fill(session, analyze=analyze)
    reader = store.reader if isinstance(store, InProcessStore) else store
    assert isinstance(reader, LogReader)
    sql, arguments = statements(reader)[name]
    if isinstance(session, PostgresObserver):
        nodes = await postgres_plan(session, sql, *arguments)
        steps = [n for n in nodes if n.get("Relation Name") in {"events", "appends", "topics"}]
        assert steps
        for node in steps:
            assert node["Node Type"] in {"Index Scan", "Index Only Scan"}, node
            assert node["Index Cond"], node
        assert not {node["Node Type"] for node in nodes} & {"Sort", "Hash Join", "Merge Join"}
        if name == "bisect":
            assert all('"offset" = ' in node["Index Cond"] for node in steps), steps
    else:
        named = {str(number): value for number, value in enumerate(arguments, start=1)}
        plan = await sqlite_plan(session, sql, named)
        assert [step for step in plan if "SEARCH " in step and "USING" in step], plan
        found = [step for step in plan if re.match("SCAN (e|appends|topics)", step)]
        assert not found, plan
        assert not [step for step in plan if "TEMP B-TREE" in step], plan


@pytest.mark.parametrize("which", ["topic > $1", "topic = $1"])
async def test_stats_reads_topics_in_the_order_of_their_index(
    session: Observer, store: EventStore, which: str
) -> None:
    batch = [event(f"t-{number}", "a") for number in range(2000)]
    await store.append(batch)
    await session.fetch("ANALYZE")
    sql = log_reader.STATS.format(listed=which)
    if isinstance(session, PostgresObserver):
        nodes = await postgres_plan(session, sql, "t-5", 1001)
        found = {node["Node Type"] for node in nodes}
        assert not found & {"Sort", "Incremental Sort", "Seq Scan", "Hash Join", "Merge Join"}
        # What is switched off for a session would cost 10^10, and have the plan compiled.
        assert nodes[0]["Total Cost"] < 10_000
    else:
        plan = await sqlite_plan(session, sql, {"1": "t-5", "2": 1001})
        assert [step for step in plan if "SEARCH topics USING PRIMARY KEY (topic" in step], plan
        assert not [step for step in plan if "TEMP B-TREE" in step], plan


async def test_a_probe_of_new_and_stored_keys_gives_each_its_own_verdict(
    store: EventStore,
) -> None:
    await store.append([event("t", key) for key in _KEYS])
    verdicts = (await store.append([event("t", key) for key in reversed([*_KEYS, "new"])])).verdicts
    assert [v.offset for v in verdicts] == [101, *range(100, 0, -1)]


async def fill_many_topics(observer: Observer) -> None:
    """More topics than anybody would want to read all of."""
    numbers = (
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) "
        if not isinstance(observer, PostgresObserver)
        else f"WITH n AS (SELECT generate_series(1, {_ROWS}) AS n) "
    )
    await observer.fetch(
        "INSERT INTO topics (topic, received, unique_processed, duplicate_dropped, conflicts, "
        f"last_ts_ingest) {numbers} SELECT 't-' || n, 1, 1, 0, 0, "
        f"{'now()' if isinstance(observer, PostgresObserver) else 'n'} FROM n"
    )


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("analyze", [True, False])
@pytest.mark.parametrize("count", [1, 1000])
async def test_heads_looks_each_topic_up_by_its_name(
    session: Observer, store: EventStore, analyze: bool, count: int, mode: str
) -> None:
    reader = store if isinstance(store, LogReader) else SqliteReader
    await fill_many_topics(session)
    if analyze:
        await session.fetch("ANALYZE")
    sql = log_reader.HEADS.format(names=reader.names_sql)
    names = json.dumps([f"t-{n}" for n in range(count)])
    if isinstance(session, PostgresObserver):
        await session.fetch(f"SET plan_cache_mode = {mode}")
        await session.fetch(f"PREPARE heads AS {sql}")
        nodes = await postgres_plan(session, f"EXECUTE heads('{names}')")
        (look_up,) = [node for node in nodes if node.get("Relation Name") == "topics"]
        assert look_up["Node Type"] in {"Index Scan", "Index Only Scan"}, nodes
        assert look_up.get("Index Cond", "").startswith("(topic = "), nodes
        assert nodes[0]["Total Cost"] < 100_000, nodes
    else:
        plan = await sqlite_plan(session, sql, {"1": names})
        assert [step for step in plan if "SEARCH topics USING PRIMARY KEY (topic=?)" in step], plan
        assert not [step for step in plan if "SCAN topics" in step], plan
