"""Keys are looked for after the lock, in a statement of its own; the constraint has the last word.

One statement that locks and looks has the snapshot from before it got the lock.
"""

import sqlite3

import pytest
from support.backends import Database
from support.events import event
from support.interleaving import Outcome
from support.observer import Observer
from support.scene import Scene, told
from support.unprotected import probe_before_lock

from storage.errors import BatchRefused
from storage.postgres import locked_append as postgres_locked_append


async def b_waits_while_a_stores_the_same_key(scene: Scene) -> list[Outcome]:
    """B has begun when A commits the event that B brings as well."""
    async with scene.interleaving() as run:
        await run.start("a", scene.a, [event("t", "same")])
        await run.until("a", "COMMIT")
        await run.start("b", scene.b, [event("t", "of-b"), event("t", "same")])
        await run.finish("b")
        await run.finish("a")
        await run.finish("b")
        assert told(run.outcomes("a")[0]) == [("stored", 1)]
        return run.outcomes("b")


async def test_a_probe_after_the_lock_finds_what_was_stored_meanwhile(scene: Scene) -> None:
    (b,) = await b_waits_while_a_stores_the_same_key(scene)
    assert told(b) == [("stored", 2), ("duplicate", 1)]
    (await scene.observer.snapshot()).assert_sound()


async def test_after_a_probe_before_the_lock_the_constraint_refuses_the_batch(scene: Scene) -> None:
    probe_before_lock(scene.backend, scene.patch)
    (b,) = await b_waits_while_a_stores_the_same_key(scene)
    assert isinstance(b, BatchRefused)
    snapshot = await scene.observer.snapshot()
    snapshot.assert_sound()
    assert snapshot.keys == [("t", 1, "same")]
    assert snapshot.counts == {"t": (1, 1, 0, 0)}


async def test_without_the_constraint_as_well_the_event_is_doubled(scene: Scene) -> None:
    probe_before_lock(scene.backend, scene.patch)
    await drop_unique_key(scene.observer, scene.database, scene.patch)
    (b,) = await b_waits_while_a_stores_the_same_key(scene)
    assert told(b) == [("stored", 2), ("stored", 3)]
    snapshot = await scene.observer.snapshot()
    assert snapshot.keys == [("t", 1, "same"), ("t", 2, "of-b"), ("t", 3, "same")]
    assert not snapshot.is_sound


async def drop_unique_key(
    observer: Observer, database: Database, patch: pytest.MonkeyPatch
) -> None:
    """Take UNIQUE (topic, event_id) away; the primary key (topic, offset) stays."""
    if database.backend == "postgres":
        await observer.fetch("ALTER TABLE events DROP CONSTRAINT events_topic_event_id_key")
        clause = "ON CONFLICT (topic, event_id) DO NOTHING"
        assert clause in postgres_locked_append.STORE
        patch.setattr(
            postgres_locked_append, "STORE", postgres_locked_append.STORE.replace(clause, "")
        )
        return
    unique = "UNIQUE (topic, event_id)"
    connection: sqlite3.Connection = observer.connection
    (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'events'").fetchone()
    assert unique in sql
    weaker = sql.replace(unique, "CHECK (true)")
    connection.execute("DROP TABLE events")
    connection.execute(weaker)
