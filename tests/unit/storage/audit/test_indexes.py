"""What the indexes hold and the table does not, or the other way round, is found and named."""

import pytest
from support.backends import Database
from support.verifying import (
    DELETE,
    INDEXES,
    ONE_LESS,
    ONE_MORE,
    ORDERS,
    RECORD,
    SHIPMENTS,
    change_b,
    copy_of_a,
    differences,
    execute,
    fill,
    forget_index,
    index_set_aside,
    verified,
)

from storage.postgres.snapshot import PostgresSnapshot
from storage.sqlite.snapshot import SqliteSnapshot

KEYS_DIFFER = "the index (topic, event_id) does not hold what the table holds"
PLACES_DIFFER = "the index (topic, offset) does not hold what the table holds"
RANGES_DIFFER = "the index (ts_ingest, topic, first_offset) does not hold what the table holds"
EACH_INDEX = [(backend, what) for backend, names in INDEXES.items() for what in names]
A_SECOND = {"sqlite": "1000000", "postgres": "interval '1 second'"}


@pytest.fixture
def filled(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database with two topics, made through a store, which is read in tiny blocks."""
    for kind in (SqliteSnapshot, PostgresSnapshot):
        monkeypatch.setattr(kind, "block_rows", 2)
    fill(database, ORDERS, SHIPMENTS)
    return database


def found_by_us(database: Database) -> list[str]:
    """The differences without what a newer SQLite (3.53, say) tells of an index itself."""
    return [
        each
        for each in differences(database)
        if not each.startswith("SQLite: wrong # of entries in index ")
    ]


def drop_key_constraint(database: Database) -> None:
    if database.backend == "sqlite":
        forget_index(database, INDEXES["sqlite"]["key"])
        execute(database, "VACUUM")
    else:
        execute(database, "ALTER TABLE events DROP CONSTRAINT events_topic_event_id_key")


@pytest.mark.parametrize("double", ["a", "b", "c"])
def test_a_doubled_key_is_named_where_nothing_forbids_it(filled: Database, double: str) -> None:
    drop_key_constraint(filled)
    execute(filled, copy_of_a("4", f"'{double}'"), ONE_MORE, *RECORD)
    assert differences(filled) == [
        "the index (topic, event_id) is missing",
        f"topic 'orders': the event_id '{double}' is stored more than once",
    ]
    assert verified(filled).verdicts["orders"] == "1 difference"


def test_a_doubled_key_is_named_where_its_index_hides_it(filled: Database) -> None:
    with index_set_aside(filled, "key"):
        execute(filled, copy_of_a("4"), ONE_MORE, *RECORD)
    assert found_by_us(filled) == [
        f"topic 'orders': {KEYS_DIFFER}: 3 entries, 4 rows",
        "topic 'orders': the event_id 'a' is stored 2 times",
    ]


def test_a_constraint_that_is_only_an_index_is_named(filled: Database) -> None:
    drop_key_constraint(filled)
    execute(filled, "CREATE INDEX by_key ON events (topic, event_id)")
    assert differences(filled) == ["the index (topic, event_id) does not forbid a double"]


def test_a_key_that_an_index_holds_twice_is_named(filled: Database) -> None:
    drop_key_constraint(filled)
    by_key = "CREATE INDEX by_key ON events (topic, event_id)"
    execute(filled, copy_of_a("4"), ONE_MORE, *RECORD, by_key)
    assert differences(filled) == [
        "the index (topic, event_id) does not forbid a double",
        "topic 'orders': the event_id 'a' is stored more than once",
    ]


@pytest.mark.parametrize(("backend", "what"), EACH_INDEX)
def test_a_row_that_an_index_lacks_is_named(filled: Database, what: str) -> None:
    with index_set_aside(filled, what):
        execute(filled, copy_of_a("4", "'d'"), ONE_MORE, *RECORD)
    assert found_by_us(filled) == [
        {
            "key": f"topic 'orders': {KEYS_DIFFER}: 3 entries, 4 rows",
            "place": f"topic 'orders': {PLACES_DIFFER}: 3 entries, 4 rows",
            "range": f"{RANGES_DIFFER}: 0 entries, 2 rows",
        }[what]
    ]


@pytest.mark.parametrize("backend", ["sqlite"])
def test_an_entry_without_a_row_is_named(filled: Database) -> None:
    # Postgres looks at the row before it shows an entry of an index.
    with index_set_aside(filled, "key"):
        execute(filled, DELETE.format(3), ONE_LESS, *RECORD)
    (sentence,) = found_by_us(filled)
    assert sentence.endswith("does not hold what the table holds: 3 entries, 2 rows")


@pytest.mark.parametrize(("backend", "what"), EACH_INDEX)
def test_an_entry_of_another_row_is_named(filled: Database, what: str) -> None:
    """As many entries as rows: only the sum tells."""
    second = A_SECOND[filled.backend]
    change = {
        "key": change_b("event_id = 'bb'"),
        "place": 'UPDATE events SET "offset" = 4 WHERE topic = \'orders\' AND "offset" = 3',
        "range": f"UPDATE events SET ts_ingest = ts_ingest + {second} "
        "WHERE topic = 'orders' AND \"offset\" = 3",
    }
    with index_set_aside(filled, what):
        execute(
            filled,
            change[what],
            f"UPDATE topics SET last_ts_ingest = last_ts_ingest + {second}",
            *RECORD,
        )
    differ = {"key": KEYS_DIFFER, "place": PLACES_DIFFER, "range": RANGES_DIFFER}[what]
    assert any(differ in each for each in differences(filled))


def test_an_index_that_is_gone_is_named(filled: Database) -> None:
    if filled.backend == "sqlite":
        drop_key_constraint(filled)
        assert differences(filled) == ["the index (topic, event_id) is missing"]
    else:
        execute(filled, "ALTER TABLE appends DROP CONSTRAINT appends_pkey")
        assert differences(filled) == ["the index (ts_ingest, topic, first_offset) is missing"]


@pytest.mark.parametrize("name", ["topics_first_append", "topics_append"])
def test_a_trigger_that_is_gone_is_named(filled: Database, name: str) -> None:
    execute(filled, f"DROP TRIGGER {name}{' ON topics' * (filled.backend == 'postgres')}")
    sentence = f"the trigger {name} is missing or off: a writer may leave an append out"
    assert differences(filled) == [sentence]


@pytest.mark.parametrize("backend", ["postgres"])
def test_a_trigger_that_is_off_counts_as_missing(filled: Database) -> None:
    execute(filled, "ALTER TABLE topics DISABLE TRIGGER topics_append")
    (sentence,) = differences(filled)
    assert sentence.startswith("the trigger topics_append is missing or off")


@pytest.mark.parametrize("backend", ["postgres"])
def test_an_index_that_is_out_of_use_counts_as_missing(filled: Database) -> None:
    """As a CREATE INDEX CONCURRENTLY that failed leaves it."""
    execute(
        filled,
        "UPDATE pg_index SET indisvalid = false "
        "WHERE indexrelid = 'events_topic_event_id_key'::regclass",
    )
    assert differences(filled) == ["the index (topic, event_id) is missing"]


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_sqlite_table_that_was_made_anew_without_its_keys_is_read_all_the_same(
    filled: Database,
) -> None:
    execute(
        filled,
        "ALTER TABLE events RENAME TO before",
        'CREATE TABLE events AS SELECT * FROM before ORDER BY topic, "offset"',
        "DROP TABLE before",
    )
    assert "the index (topic, event_id) is missing" in differences(filled)
