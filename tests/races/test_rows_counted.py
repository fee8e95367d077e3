"""The number of rows that an INSERT stored is checked: a row that was skipped is never a duplicate.

`INSERT OR IGNORE` passes over NOT NULL and CHECK violations as well; on Postgres a trigger can
turn a row away without a word.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import pytest
from support.events import event
from support.scene import Scene, told

from storage.deduplication import Decision, Head
from storage.errors import BatchRefused
from storage.model import Event, StoredEvent
from storage.postgres import locked_append as postgres_locked_append
from storage.sqlite import transaction as sqlite_transaction

_SKIP = """
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER skip BEFORE INSERT ON events FOR EACH ROW
WHEN (NEW.source = 'unwanted') EXECUTE FUNCTION skip()"""

_CHECK = "source TEXT NOT NULL CHECK (source <> 'unwanted')"


async def refuse_a_source_silently(scene: Scene) -> None:
    """From now on the database skips rows of one source."""
    if scene.backend == "postgres":
        await scene.observer.connection.execute(_SKIP)
        return
    (sql,) = (await scene.observer.fetch("SELECT sql FROM sqlite_schema WHERE name = 'events'"))[0]
    line = "source     TEXT    NOT NULL"
    assert line in sql
    await scene.observer.fetch("DROP TABLE events")
    await scene.observer.fetch(sql.replace(line, _CHECK))


def take_the_check_away(scene: Scene) -> None:
    """Rows are inserted as before, but nobody looks how many."""

    def sqlite_insert(connection: Any, rows: Sequence[StoredEvent]) -> None:
        for part in sqlite_transaction._parts(rows):
            sql = sqlite_transaction._INSERT + ",".join(
                [sqlite_transaction._INSERT_ROW] * len(part)
            )
            values = (
                (r.topic, r.offset, r.event_id, r.timestamp_us, r.ts_ingest_us, r.source, r.payload)
                for r in part
            )
            connection.execute(sql, tuple(chain.from_iterable(values)))

    async def postgres_store(
        connection: Any, decision: Decision, heads: dict[str, Head], append: str
    ) -> None:
        counts = postgres_locked_append._count_columns(decision.counts, heads, append)
        events = postgres_locked_append._event_columns(decision.rows)
        await connection.execute(postgres_locked_append.STORE, *counts, *events)

    scene.patch.setattr(sqlite_transaction, "_insert", sqlite_insert)
    scene.patch.setattr(postgres_locked_append, "_store", postgres_store)


def batch() -> list[Event]:
    return [event("t", "good"), event("t", "skipped", source="unwanted"), event("t", "last")]


async def test_a_batch_of_which_a_row_was_skipped_is_refused_as_a_whole(scene: Scene) -> None:
    await refuse_a_source_silently(scene)
    with pytest.raises(BatchRefused):
        await scene.a.append(batch())
    snapshot = await scene.observer.snapshot()
    assert (snapshot.counts, snapshot.rows) == ({}, [])


async def test_unless_rows_are_counted_a_skipped_event_is_confirmed_and_lost(scene: Scene) -> None:
    await refuse_a_source_silently(scene)
    take_the_check_away(scene)
    assert told(await scene.a.append(batch())) == [("stored", 1), ("stored", 2), ("stored", 3)]
    snapshot = await scene.observer.snapshot()
    assert [event_id for _, _, event_id in snapshot.keys] == ["good", "last"]
    assert not snapshot.is_sound


async def test_an_event_with_a_missing_field_is_refused_never_skipped(scene: Scene) -> None:
    missing = cast("str", None)
    with pytest.raises(BatchRefused):
        await scene.a.append([event("t", "good"), event("t", "bad", source=missing)])
    snapshot = await scene.observer.snapshot()
    assert (snapshot.counts, snapshot.rows) == ({}, [])


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_sqlite_skips_a_missing_field_silently_unless_rows_are_counted(scene: Scene) -> None:
    take_the_check_away(scene)
    missing = cast("str", None)
    answer = await scene.a.append([event("t", "good"), event("t", "bad", source=missing)])
    assert told(answer) == [("stored", 1), ("stored", 2)]
    assert (await scene.observer.snapshot()).keys == [("t", 1, "good")]
