"""An optimistic append stores a batch only if its topics are as they were expected to be."""

from typing import Any

import pytest
from support.events import event
from support.interleaving import Interleaving, Outcome, State
from support.scene import Scene, told
from support.unprotected import ArrivalOrder
from support.weakened_function import check_heads_alone, check_nothing, count_no_rows, lock_as_named

from storage.errors import BatchRefused, OutcomeUnknown, StorageUnavailable
from storage.postgres import optimistic_append as postgres_optimistic_append

# SQLite's writer has the whole file to itself.
pytestmark = pytest.mark.parametrize("backend", ["postgres"])

STORE = "STORE_IF_UNCHANGED"


async def statements(run: Interleaving, name: str) -> list[str]:
    """Those that a publisher goes on to run, to its end or to where it is blocked."""
    seen = []
    while run.state(name) is State.STOPPED:
        seen.append(run.statement(name))
        await run.step(name)
    return seen


async def b_stores_while_a_is_decided(scene: Scene, of_b: str) -> tuple[list[str], Outcome]:
    """A has decided to store "x" at offset 2 when another store commits an event of its own."""
    await scene.a.append([event("t", "seed")])
    async with scene.interleaving(optimistic=True) as run:
        await run.start("a", scene.a, [event("t", "x"), event("t", "seed")])
        await run.until("a", STORE)
        await run.start("b", scene.b, [event("t", of_b)])
        assert told((await run.finish("b"))[0]) == [("stored", 2)]
        seen = await statements(run, "a")
        return seen, run.outcomes("a")[0]


async def test_alone_a_batch_takes_two_statements(scene: Scene) -> None:
    await scene.a.append([event("t", "seed")])
    async with scene.interleaving(optimistic=True) as run:
        await run.start("a", scene.a, [event("t", "x"), event("t", "seed")])
        assert await statements(run, "a") == ["PROBE_WITH_TOPICS", STORE]
        assert told(run.outcomes("a")[0]) == [("stored", 2), ("duplicate", 1)]
    (await scene.observer.snapshot()).assert_sound()


@pytest.mark.parametrize(("of_b", "verdict"), [("x", ("duplicate", 2)), ("y", ("stored", 3))])
async def test_what_another_store_adds_meanwhile_is_noticed_under_the_lock(
    scene: Scene, of_b: str, verdict: tuple[str, int]
) -> None:
    seen, outcome = await b_stores_while_a_is_decided(scene, of_b)
    assert seen == [STORE, "BEGIN", "LOCK_TOPICS", "PROBE", "STORE", "COMMIT"]
    assert told(outcome) == [verdict, ("duplicate", 1)]
    (await scene.observer.snapshot()).assert_sound()


@pytest.mark.parametrize("of_b", ["x", "y"])
async def test_unless_it_is_checked_an_innocent_batch_is_refused(scene: Scene, of_b: str) -> None:
    await check_nothing(scene.observer)
    _, outcome = await b_stores_while_a_is_decided(scene, of_b)
    assert isinstance(outcome, BatchRefused)
    (await scene.observer.snapshot()).assert_sound()


async def test_a_repeat_that_another_store_adds_counts_as_well(scene: Scene) -> None:
    await scene.a.append([event("t", "seed")])
    async with scene.interleaving(optimistic=True) as run:
        await run.start("a", scene.a, [event("t", "x")])
        await run.until("a", STORE)
        await run.start("b", scene.b, [event("t", "seed")])
        await run.finish("b")
        await run.finish("a")
    snapshot = await scene.observer.snapshot()
    snapshot.assert_sound()
    assert snapshot.counts == {"t": (3, 2, 1, 0)}


async def test_a_writer_that_names_no_append_is_noticed_by_what_it_stored(scene: Scene) -> None:
    """An aggregator of the version before, on its last batch while this one has begun."""
    await scene.a.append([event("t", "seed")])
    async with scene.interleaving(optimistic=True) as run:
        await run.start("a", scene.a, [event("t", "x")])
        await run.until("a", STORE)
        await scene.observer.fetch(
            "INSERT INTO events VALUES ('t', 2, 'x', now(), now(), 'shop', '{}')"
        )
        await scene.observer.fetch(
            "UPDATE topics SET received = 2, unique_processed = 2, last_ts_ingest = ("
            "SELECT max(ts_ingest) FROM events) WHERE topic = 't'"
        )
        await run.finish("a")
        assert told(run.outcomes("a")[0]) == [("duplicate", 2)]
    (await scene.observer.snapshot()).assert_sound()


async def test_the_next_batch_is_decided_on_what_the_one_under_way_will_leave(
    scene: Scene,
) -> None:
    await scene.a.append([event("t", "seed")])
    async with scene.interleaving(optimistic=True) as run:
        await run.start("first", scene.a, [event("t", "x"), event("u", "x")])
        await run.until("first", "COMMIT")
        await run.start("next", scene.a, [event("t", "x", '{"n":1}'), event("t", "y")])
        assert await statements(run, "next") == ["PROBE_WITH_TOPICS", STORE]
        assert run.state("next") is State.BLOCKED
        await run.finish("first")
        assert run.state("next") is State.ENDED
        assert told(run.outcomes("next")[0]) == [("conflict", 2), ("stored", 3)]
    (await scene.observer.snapshot()).assert_sound()


async def test_a_batch_waits_for_its_turn_until_the_one_before_is_decided(scene: Scene) -> None:
    """Also where that one locks first, for its topic is new."""
    async with scene.interleaving(optimistic=True) as run:
        await run.start("first", scene.a, [event("new", "x")])
        await run.until("first", "PROBE")
        await run.start("next", scene.a, [event("new", "x")])
        assert (run.state("next"), run.statement("next")) == (State.BLOCKED, "")
        await run.step("first")
        assert run.statement("first") == "STORE"
        assert run.statement("next") == "PROBE_WITH_TOPICS"
        for name in ("first", "next"):
            await run.finish(name)
        assert told(run.outcomes("first")[0]) == [("stored", 1)]
        assert told(run.outcomes("next")[0]) == [("duplicate", 1)]
    (await scene.observer.snapshot()).assert_sound()


async def one_built_on_what_was_lost(scene: Scene) -> Outcome:
    """The batch before brings the same event, and dies; another store moves the head as it would.

    Then the head of the topic is what it was taken to be, and its content is not.
    """
    await scene.a.append([event("t", "seed")])
    async with scene.interleaving(optimistic=True) as run:
        await run.start("first", scene.a, [event("t", "x")])
        await run.until("first", STORE)
        await run.start("next", scene.a, [event("t", "x")])
        await run.until("next", STORE)
        assert isinstance((await run.crash("first"))[0], OutcomeUnknown)
        await run.start("b", scene.b, [event("t", "of-b")])
        assert told((await run.finish("b"))[0]) == [("stored", 2)]
        return (await run.finish("next"))[0]


async def test_a_batch_that_was_built_on_a_lost_one_is_decided_anew(scene: Scene) -> None:
    assert told(await one_built_on_what_was_lost(scene)) == [("stored", 3)]
    snapshot = await scene.observer.snapshot()
    snapshot.assert_sound()
    assert snapshot.keys == [("t", 1, "seed"), ("t", 2, "of-b"), ("t", 3, "x")]


async def test_if_heads_alone_are_checked_an_event_is_confirmed_and_lost(scene: Scene) -> None:
    await check_heads_alone(scene.observer)
    assert told(await one_built_on_what_was_lost(scene)) == [("duplicate", 2)]
    snapshot = await scene.observer.snapshot()
    assert snapshot.keys == [("t", 1, "seed"), ("t", 2, "of-b")]


async def opposite_orders(scene: Scene) -> tuple[Outcome, Outcome]:
    """Both batches are let into their statement and stop at the middle topic, held by a third."""
    await scene.a.append([event(topic, "seed") for topic in "amz"])
    third = scene.observer.connection.transaction()
    async with scene.interleaving(optimistic=True) as run:
        await third.start()
        await scene.observer.fetch("SELECT * FROM topics WHERE topic = 'm' FOR UPDATE")
        await run.start("a", scene.a, [event(topic, "new") for topic in "amz"])
        await run.start("b", scene.b, [event(topic, "new") for topic in "zma"])
        for name in "ab":
            await run.until(name, STORE)
            await run.step(name)
        assert run.names(State.BLOCKED) == ["a", "b"]
        await third.rollback()
        await run.until_unblocked("a", "b")
        for name in "abab":
            await run.finish(name)
        (await scene.observer.snapshot()).assert_sound()
        return run.outcomes("a")[0], run.outcomes("b")[0]


async def test_topics_are_locked_in_sorted_order_whoever_comes_first(scene: Scene) -> None:
    a, b = await opposite_orders(scene)
    assert sorted([told(a), told(b)]) == [[("duplicate", 2)] * 3, [("stored", 2)] * 3]


async def test_locked_in_arrival_order_they_end_in_a_deadlock(scene: Scene) -> None:
    await lock_as_named(scene.observer)
    scene.patch.setattr(postgres_optimistic_append, "BatchDeduplicator", ArrivalOrder)
    outcomes = await opposite_orders(scene)
    (victim,) = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert isinstance(victim, StorageUnavailable)
    assert "deadlock detected" in str(victim)


async def a_key_appears_past_every_lock(scene: Scene) -> Outcome:
    """Somebody inserts an event and neither locks nor counts, after a batch looked for its key."""
    async with scene.interleaving(optimistic=True) as run:
        await run.start("a", scene.a, [event("t", "x"), event("t", "y")])
        await run.until("a", STORE)
        await scene.observer.connection.execute(
            "INSERT INTO events VALUES ('t', 99, 'y', now(), now(), 'shop', '{}')"
        )
        return (await run.finish("a"))[0]


async def test_a_key_that_was_not_found_but_is_there_is_an_error_and_nothing_is_stored(
    scene: Scene,
) -> None:
    await scene.a.append([event("t", "seed")])
    outcome = await a_key_appears_past_every_lock(scene)
    assert isinstance(outcome, BatchRefused)
    assert str(outcome) == "Postgres: 1 of 2 new events were stored; nothing was committed"
    assert (await scene.observer.snapshot()).counts == {"t": (1, 1, 0, 0)}


async def test_unless_rows_are_counted_such_a_key_is_confirmed_at_a_place_where_nothing_is(
    scene: Scene,
) -> None:
    await scene.a.append([event("t", "seed")])
    await count_no_rows(scene.observer)
    assert told(await a_key_appears_past_every_lock(scene)) == [("stored", 2), ("stored", 3)]
    snapshot = await scene.observer.snapshot()
    assert not snapshot.is_sound
    assert [place for place in snapshot.keys if place[2] == "y"] == [("t", 99, "y")]


async def test_without_the_constraint_no_event_can_be_stored(scene: Scene) -> None:
    await scene.a.append([event("t", "seed")])
    await scene.observer.fetch("ALTER TABLE events DROP CONSTRAINT events_topic_event_id_key")
    outcome = await a_key_appears_past_every_lock(scene)
    assert isinstance(outcome, BatchRefused)
    assert "no unique or exclusion constraint matching the ON CONFLICT" in str(outcome)


async def a_row_is_passed_over(scene: Scene) -> Outcome:
    """From now on the database skips rows of one source, and a batch brings one."""
    await scene.a.append([event("t", "seed")])
    await scene.observer.connection.execute(
        "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER skip BEFORE INSERT ON events FOR EACH ROW "
        "WHEN (NEW.source = 'unwanted') EXECUTE FUNCTION skip()"
    )
    async with scene.interleaving(optimistic=True) as run:
        await run.start("a", scene.a, [event("t", "x"), event("t", "y", source="unwanted")])
        assert await statements(run, "a") == ["PROBE_WITH_TOPICS", STORE]
        return run.outcomes("a")[0]


async def test_a_batch_of_which_a_row_was_passed_over_is_refused_as_a_whole(scene: Scene) -> None:
    outcome = await a_row_is_passed_over(scene)
    assert isinstance(outcome, BatchRefused)
    assert str(outcome) == "Postgres: 1 of 2 new events were stored; nothing was committed"
    assert (await scene.observer.snapshot()).counts == {"t": (1, 1, 0, 0)}


async def test_unless_rows_are_counted_a_skipped_event_is_confirmed_and_lost(scene: Scene) -> None:
    await count_no_rows(scene.observer)
    assert told(await a_row_is_passed_over(scene)) == [("stored", 2), ("stored", 3)]
    assert not (await scene.observer.snapshot()).is_sound


async def test_a_crash_before_the_statement_leaves_nothing(scene: Scene) -> None:
    await scene.a.append([event("t", "seed")])
    async with scene.interleaving(optimistic=True) as run:
        await run.start("a", scene.a, [event("t", "x")])
        await run.until("a", STORE)
        assert isinstance((await run.crash("a"))[0], OutcomeUnknown)
    assert (await scene.observer.snapshot()).counts == {"t": (1, 1, 0, 0)}
    assert told(await scene.b.append([event("t", "x")])) == [("stored", 2)]


async def test_during_a_backoff_the_next_batch_waits_for_the_lock_in_the_database(
    scene: Scene,
) -> None:
    store: Any = scene.a
    await store.append([event("t", "seed")])
    store._appender.backoff.remaining = 2
    async with scene.interleaving(optimistic=True) as run:
        await run.start("first", store, [event("t", "x")])
        await run.until("first", "PROBE")
        await run.start("next", store, [event("t", "x")])
        assert await statements(run, "next") == ["BEGIN", "LOCK_TOPICS"]
        assert run.state("next") is State.BLOCKED
        await run.finish("first")
        await run.finish("next")
        assert told(run.outcomes("first")[0]) == [("stored", 2)]
        assert told(run.outcomes("next")[0]) == [("duplicate", 2)]
