"""Writers to one topic go one after another, because they lock it before they look."""

from support.events import event
from support.interleaving import Outcome, State
from support.scene import Scene, told
from support.unprotected import no_topic_lock

from storage.errors import BatchRefused, StorageUnavailable


async def b_publishes_while_a_has_probed(scene: Scene) -> tuple[list[Outcome], list[Outcome]]:
    """A has looked for its key and found nothing; B wants to store another; then A goes on."""
    await scene.a.append([event("t", "seed")])
    async with scene.interleaving() as run:
        await run.start("a", scene.a, [event("t", "of-a")])
        await run.until("a", "STORE" if scene.backend == "postgres" else "INSERT")
        await run.start("b", scene.b, [event("t", "of-b")])
        await run.finish("b")
        assert run.state("b") in {State.BLOCKED, State.ENDED}
        await run.finish("a")
        await run.finish("b")
        (await scene.observer.snapshot()).assert_sound()
        return run.outcomes("a"), run.outcomes("b")


async def test_with_the_lock_both_events_are_stored_one_behind_the_other(scene: Scene) -> None:
    (a,), (b,) = await b_publishes_while_a_has_probed(scene)
    assert told(a) == [("stored", 2)]
    assert told(b) == [("stored", 3)]


async def test_without_the_lock_an_innocent_batch_is_refused(scene: Scene) -> None:
    no_topic_lock(scene.backend, scene.patch)
    (a,), (b,) = await b_publishes_while_a_has_probed(scene)
    assert told(b) == [("stored", 2)]
    # Postgres gave both the same offset; SQLite won't write on top of an old snapshot, and
    # says so at once, whatever the busy timeout.
    assert isinstance(a, BatchRefused if scene.backend == "postgres" else StorageUnavailable)
    assert (await scene.observer.snapshot()).keys == [("t", 1, "seed"), ("t", 2, "of-b")]


async def both_create_a_topic(scene: Scene) -> tuple[list[Outcome], list[Outcome]]:
    async with scene.interleaving() as run:
        await run.start("a", scene.a, [event("new", "same"), event("new", "of-a")])
        await run.until("a", "STORE" if scene.backend == "postgres" else "COUNT")
        await run.start("b", scene.b, [event("new", "of-b"), event("new", "same", '{"n":1}')])
        await run.finish("b")
        assert run.state("b") is State.BLOCKED
        await run.finish("a")
        await run.finish("b")
        (await scene.observer.snapshot()).assert_sound()
        return run.outcomes("a"), run.outcomes("b")


async def test_two_batches_that_create_one_topic_go_one_after_another(scene: Scene) -> None:
    (a,), (b,) = await both_create_a_topic(scene)
    assert told(a) == [("stored", 1), ("stored", 2)]
    assert told(b) == [("stored", 3), ("conflict", 1)]


async def test_batches_for_different_topics_do_not_wait_for_each_other_on_postgres(
    scene: Scene,
) -> None:
    async with scene.interleaving() as run:
        await run.start("a", scene.a, [event("one", "x")])
        await run.until("a", "COMMIT")
        await run.start("b", scene.b, [event("two", "x")])
        await run.finish("b")
        # SQLite has one writer at a time, whatever the topic.
        expected = State.ENDED if scene.backend == "postgres" else State.BLOCKED
        assert run.state("b") is expected
        await run.finish("a")
        await run.finish("b")
        assert told(run.outcomes("b")[0]) == [("stored", 1)]
