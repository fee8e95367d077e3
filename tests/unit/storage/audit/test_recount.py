"""Every kind of damage, made for real past the store, is found and named; nothing else is."""

import pytest
from support.backends import Database
from support.verifying import (
    DELETE,
    ONE_LESS,
    ONE_MORE,
    ORDERS,
    RECORD,
    SHIPMENTS,
    SOUND,
    change_b,
    copy_of_a,
    differences,
    execute,
    fill,
    verified,
)

from storage.audit import recount
from storage.postgres.snapshot import PostgresSnapshot
from storage.sqlite.snapshot import SqliteSnapshot

NO_CHECKS = {
    "sqlite": [],
    "postgres": [
        "ALTER TABLE topics DROP CONSTRAINT topics_check",
        "ALTER TABLE topics DROP CONSTRAINT topics_check1",
    ],
}
DEEP_129 = '{"a":' * 128 + "{}" + "}" * 128
A_SECOND = {"sqlite": "1000000", "postgres": "interval '1 second'"}
AFTER_9999 = {"sqlite": "253402300800000000", "postgres": "'10000-01-01T00:00:00Z'"}
BEFORE_1 = {"sqlite": "-62135596800000001", "postgres": "'0001-12-31T23:59:59.999999Z BC'"}


COUNTS_AND_PLACES: dict[str, tuple[list[str], list[str]]] = {
    "a gap": ([DELETE.format(2), ONE_LESS], ["topic 'orders': offset 2 is missing"]),
    "a wide gap": (
        ["UPDATE events SET \"offset\" = 9 WHERE topic = 'orders' AND \"offset\" = 3"],
        ["topic 'orders': offsets 3 to 8 are missing"],
    ),
    "no beginning": ([DELETE.format(1), ONE_LESS], ["topic 'orders': offset 1 is missing"]),
    "no end": (
        [DELETE.format(3)],
        ["topic 'orders': unique_processed is 3, but 2 rows are there"],
    ),
    "one too many counted": (
        [ONE_MORE],
        ["topic 'orders': unique_processed is 4, but 3 rows are there"],
    ),
    "received without an outcome": (
        ["UPDATE topics SET received = 9 WHERE topic = 'orders'"],
        ["topic 'orders': received is 9, but unique_processed + duplicate_dropped is 5"],
    ),
    "more conflicts than duplicates": (
        ["UPDATE topics SET conflicts = 3 WHERE topic = 'orders'"],
        ["topic 'orders': conflicts is 3, which is not within 0 and 2"],
    ),
    "less than no conflict": (
        ["UPDATE topics SET conflicts = -1 WHERE topic = 'orders'"],
        ["topic 'orders': conflicts is -1, which is not within 0 and 2"],
    ),
    "rows without counts": (
        ["DELETE FROM topics WHERE topic = 'orders'"],
        ["topic 'orders': 3 rows are there, but no counts"],
    ),
    "counts without rows": (
        ["INSERT INTO topics SELECT 'ghosts', 5, 0, 5, 0, last_ts_ingest FROM topics LIMIT 1"],
        ["topic 'ghosts': received is 5, but unique_processed is 0"],
    ),
    "time goes back": (
        [change_b("ts_ingest = ts_ingest - {second}")],
        ["topic 'orders': ts_ingest goes back at offset 2"],
    ),
    "time goes back at the end": (
        [change_b("ts_ingest = ts_ingest + {second}"),
         "UPDATE topics SET last_ts_ingest = last_ts_ingest + {second} WHERE topic = 'orders'"],
        ["topic 'orders': ts_ingest goes back at offset 3"],
    ),
    "the last time is not the last": (
        ["UPDATE topics SET last_ts_ingest = last_ts_ingest - {second} WHERE topic = 'orders'"],
        ["topic 'orders': last_ts_ingest is before the ts_ingest of the last row"],
    ),
}  # fmt: skip

FOREIGN: dict[str, tuple[str, str]] = {
    "offset 0": ('"offset" = 0', "the offset must be 1 or more"),
    "a control character in the event_id": (
        "event_id = 'b\x01'",
        "the event_id must be 1 to 256 characters without control characters, not 'b\\x01'",
    ),
    "no event_id": (
        "event_id = ''",
        "the event_id must be 1 to 256 characters without control characters, not ''",
    ),
    "a line in the source": (
        "source = 'one\ntwo'",
        "the source must be 1 to 256 characters without control characters, not 'one\\ntwo'",
    ),
    "a timestamp after 9999": (
        "timestamp = {after_9999}",
        "the timestamp is outside the years 1 to 9999, 253402300800000000 microseconds after 1970",
    ),
    "a timestamp before 1": (
        "timestamp = {before_1}",
        "the timestamp is outside the years 1 to 9999, -62135596800000001 microseconds after 1970",
    ),
    "an array": ("payload = '[]'", "the payload must be an object, not an array"),
    "a word": ("payload = '\"{}\"'", "the payload must be an object, not a string"),
    "129 levels": (
        f"payload = '{DEEP_129}'",
        "the payload must not nest deeper than 128 levels",
    ),
    "129 levels of an array": (
        f"payload = '{'[' * 129}{']' * 129}'",
        "the payload must not nest deeper than 128 levels",
    ),
    "thousands of levels": (
        f"payload = '{'[' * 4000}{']' * 4000}'",
        "the payload must not nest deeper than 128 levels",
    ),
}


@pytest.fixture
def filled(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database with two topics, made through a store, which is read in tiny blocks."""
    for kind in (SqliteSnapshot, PostgresSnapshot):
        monkeypatch.setattr(kind, "block_rows", 2)
    fill(database, ORDERS, SHIPMENTS)
    return database


def damage(database: Database, *statements: str) -> None:
    words = {"{second}": A_SECOND, "{after_9999}": AFTER_9999, "{before_1}": BEFORE_1}
    for word, meaning in words.items():
        statements = tuple(each.replace(word, meaning[database.backend]) for each in statements)
    execute(database, *NO_CHECKS[database.backend], *statements, *RECORD)


def test_a_sound_database_agrees(filled: Database) -> None:
    assert verified(filled) == (0, SOUND, "")


def test_an_empty_database_agrees(database: Database) -> None:
    fill(database)
    ended = verified(database)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("Everything agrees: 0 rows in 0 topics recounted in one snapshot.\n")


@pytest.mark.parametrize("name", COUNTS_AND_PLACES)
def test_counts_and_places_that_do_not_agree_are_named(filled: Database, name: str) -> None:
    statements, sentences = COUNTS_AND_PLACES[name]
    damage(filled, *statements)
    assert differences(filled) == sentences


@pytest.mark.parametrize("name", FOREIGN)
def test_a_row_that_no_aggregator_wrote_is_named(filled: Database, name: str) -> None:
    change, sentence = FOREIGN[name]
    place = '"offset" = 3' if name == "offset 0" else '"offset" = 2'
    damage(filled, f"UPDATE events SET {change} WHERE topic = 'orders' AND {place}")
    offset = 0 if name == "offset 0" else 2
    assert differences(filled) == [f"topic 'orders', offset {offset}: {sentence}"]
    assert verified(filled).verdicts == {
        "orders": "1 difference", "shipments": "ok", "total": "1 difference",
    }  # fmt: skip


def test_a_topic_is_not_called_ok_when_not_every_foreign_row_is_remembered(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "_MAX_FOREIGN_TOPICS", 1)
    damage(filled, "UPDATE events SET source = ''")
    assert len(differences(filled)) == 5
    forgotten = {"orders": "unknown", "shipments": "2 differences", "total": "5 differences"}
    remembered = {"orders": "3 differences", "shipments": "unknown", "total": "5 differences"}
    assert verified(filled).verdicts in (forgotten, remembered)


def test_a_topic_that_no_aggregator_made_is_named(filled: Database) -> None:
    damage(
        filled,
        "UPDATE topics SET topic = 'no\x07good' WHERE topic = 'orders'",
        "UPDATE events SET topic = 'no\x07good' WHERE topic = 'orders'",
    )
    rule = "the topic must be 1 to 249 characters of A-Z a-z 0-9 . _ -, not 'no\\x07good'"
    assert differences(filled) == [f"topic 'no\\x07good', offset {n}: {rule}" for n in (1, 2, 3)]
    assert verified(filled).verdicts["'no\\x07good'"] == "3 differences"


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_payload_that_is_not_json_is_named(filled: Database) -> None:
    # Postgres refuses to store one: its column is of the type json.
    damage(filled, change_b("payload = '{nonsense'"))
    (sentence,) = differences(filled)
    assert sentence.startswith("topic 'orders', offset 2: the payload is not JSON: ")


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("column", ["event_id", "payload"])
def test_bytes_that_are_not_utf_8_are_named(filled: Database, column: str) -> None:
    damage(filled, change_b(f"{column} = CAST(x'7bff7d' AS TEXT)"))
    (sentence,) = differences(filled)
    assert sentence.startswith(f"topic 'orders', offset 2: the {column} ")


@pytest.mark.parametrize("backend", ["postgres"])
@pytest.mark.parametrize("when", ["infinity", "-infinity"])
def test_a_time_without_end_is_named(filled: Database, when: str) -> None:
    damage(filled, change_b(f"timestamp = '{when}'"))
    (sentence,) = differences(filled)
    assert "the timestamp is outside the years 1 to 9999" in sentence


@pytest.mark.parametrize("backend", ["postgres"])
def test_counts_that_are_there_twice_are_named(filled: Database) -> None:
    damage(
        filled,
        "ALTER TABLE topics DROP CONSTRAINT topics_pkey",
        "INSERT INTO topics SELECT * FROM topics WHERE topic = 'orders'",
    )
    assert differences(filled) == ["topic 'orders': its counts are there 2 times"]


@pytest.mark.parametrize("backend", ["postgres"])
def test_a_place_that_is_taken_twice_is_named(filled: Database) -> None:
    damage(
        filled,
        "ALTER TABLE events DROP CONSTRAINT events_pkey",
        copy_of_a("1", "'d'"),
        ONE_MORE,
        DELETE.format(3),
        ONE_LESS,
    )
    assert differences(filled) == [
        "the index (topic, offset) is missing",
        "topic 'orders': offset 1 is there more than once",
    ]


@pytest.mark.parametrize("backend", ["postgres"])
def test_a_value_that_is_missing_is_named(filled: Database) -> None:
    damage(filled, "ALTER TABLE events ALTER source DROP NOT NULL", change_b("source = NULL"))
    (sentence,) = differences(filled)
    assert sentence == (
        "the rest could not be read: Postgres: a column that must not be NULL is NULL"
    )
