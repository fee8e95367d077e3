"""Whatever was stored through a store agrees; whatever is changed past it does not."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.backends import Database
from support.strategies import pools
from support.verifying import execute, fill, verified

from storage.model import INT64_MAX, Event
from storage.postgres.snapshot import PostgresSnapshot
from storage.sqlite.snapshot import SqliteSnapshot

Batches = list[list[Event]]

CHANGES = {
    "a row goes": "DELETE FROM events WHERE {row}",
    "a row is moved to another place": 'UPDATE events SET "offset" = "offset" + 99 WHERE {row}',
    "a row is moved to another topic": "UPDATE events SET topic = 'elsewhere' WHERE {row}",
    "a row is added": (
        "INSERT INTO events SELECT topic, \"offset\" + 99, 'another', timestamp, ts_ingest, "
        "source, payload FROM events WHERE {row}"
    ),
    "a row is from the future": "UPDATE events SET ts_ingest = ts_ingest + {day} WHERE {row}",
    "an event_id is not one": "UPDATE events SET event_id = '' WHERE {row}",
    "a source is not one": "UPDATE events SET source = 'a\tb' WHERE {row}",
    "a payload is not one": "UPDATE events SET payload = '7' WHERE {row}",
    "one more is received": "UPDATE topics SET received = received + 1 WHERE {topic}",
    "one more is stored": (
        "UPDATE topics SET unique_processed = unique_processed + 1 WHERE {topic}"
    ),
    "one more is counted": (
        "UPDATE topics SET unique_processed = unique_processed + 1, received = received + 1 "
        "WHERE {topic}"
    ),
    "one more is a duplicate": (
        "UPDATE topics SET duplicate_dropped = duplicate_dropped + 1 WHERE {topic}"
    ),
    "a new event is called a duplicate": (
        "UPDATE topics SET unique_processed = unique_processed - 1, "
        "duplicate_dropped = duplicate_dropped + 1 WHERE {topic}"
    ),
    "too many are conflicts": "UPDATE topics SET conflicts = duplicate_dropped + 1 WHERE {topic}",
    "the counts go": "DELETE FROM topics WHERE {topic}",
    "the counts are another topic's": "UPDATE topics SET topic = 'elsewhere' WHERE {topic}",
    "the last time is early": (
        "UPDATE topics SET last_ts_ingest = last_ts_ingest - {day} WHERE {topic}"
    ),
    "a range goes": "DELETE FROM appends WHERE {range}",
    "a range is longer": "UPDATE appends SET last_offset = last_offset + 1 WHERE {range}",
    "a range is without end": "UPDATE appends SET last_offset = {int64_max} WHERE {range}",
    "a range ends before it begins": (
        "UPDATE appends SET last_offset = first_offset - 1 WHERE {range}"
    ),
    "a range begins too late": "UPDATE appends SET first_offset = first_offset + 1 WHERE {range}",
    "a range begins too early": "UPDATE appends SET first_offset = first_offset - 1 WHERE {range}",
    "a range is of another time": (
        "UPDATE appends SET ts_ingest = ts_ingest + {day} WHERE {range}"
    ),
    "a range is of another topic": "UPDATE appends SET topic = 'elsewhere' WHERE {range}",
    "a range is there twice": (
        "INSERT INTO appends SELECT ts_ingest + {day}, topic, first_offset, last_offset "
        "FROM appends WHERE {range}"
    ),
}
DAY = {"sqlite": "86400000000", "postgres": "interval '1 day'"}
ROW = """(topic, "offset") IN (
    SELECT topic, "offset" FROM events ORDER BY topic, "offset" LIMIT 1 OFFSET {place})"""
TOPIC = "topic IN (SELECT topic FROM topics ORDER BY topic LIMIT 1 OFFSET {place})"
RANGE = """(ts_ingest, topic, first_offset) IN (
    SELECT ts_ingest, topic, first_offset FROM appends
    ORDER BY ts_ingest, topic, first_offset LIMIT 1 OFFSET {place})"""
EMPTY = ["DELETE FROM events", "DELETE FROM topics", "DELETE FROM appends"]


@pytest.fixture
def database(database: Database) -> Database:
    """With the schema, and with no CHECK in the way."""
    fill(database)
    if database.backend == "postgres":
        execute(
            database,
            "ALTER TABLE topics DROP CONSTRAINT topics_check",
            "ALTER TABLE topics DROP CONSTRAINT topics_check1",
            "ALTER TABLE appends DROP CONSTRAINT appends_check",
        )
    return database


batches = pools().flatmap(lambda pool: st.lists(pool.batches(), min_size=1, max_size=4))
blocks = st.integers(1, 4)


def read_in_blocks(patch: pytest.MonkeyPatch, rows: int) -> None:
    for kind in (SqliteSnapshot, PostgresSnapshot):
        patch.setattr(kind, "block_rows", rows)


def test_what_a_store_stored_agrees(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    @given(batches=batches, block_rows=blocks)
    def agrees(batches: Batches, block_rows: int) -> None:
        read_in_blocks(monkeypatch, block_rows)
        execute(database, *EMPTY)
        fill(database, *batches)
        ended = verified(database)
        assert ended.code == 0, ended.out

    agrees()


def test_any_change_past_the_store_is_a_difference(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    @given(
        batches=batches, name=st.sampled_from(sorted(CHANGES)), pick=st.integers(0, 99),
        block_rows=blocks,
    )  # fmt: skip
    def differs(batches: Batches, name: str, pick: int, block_rows: int) -> None:
        read_in_blocks(monkeypatch, block_rows)
        execute(database, *EMPTY)
        fill(database, *batches)
        keys = {(event.topic, event.event_id) for batch in batches for event in batch}
        row = ROW.format(place=pick % len(keys))
        topic = TOPIC.format(place=pick % len({topic for topic, _ in keys}))
        # A batch stores in each of its topics, or there would be no range to pick.
        ranged = RANGE.format(place=pick % len({topic for topic, _ in keys}))
        changes = CHANGES[name].format(
            row=row, topic=topic, range=ranged, day=DAY[database.backend], int64_max=INT64_MAX
        )
        execute(database, changes)
        assert verified(database).code == 1, name

    for name in CHANGES:
        differs = example(
            batches=[[Event("t", key, 0, "s", "{}") for key in "abab"]],
            name=name, pick=1, block_rows=2,
        )(differs)  # fmt: skip
    differs()
