"""A batch locks its topics in sorted order, so that no two wait for each other in a circle."""

import pytest
from support.events import event
from support.interleaving import Outcome, State
from support.scene import Scene, told
from support.unprotected import ArrivalOrder

from storage.errors import StorageUnavailable
from storage.postgres import locked_append as postgres_locked_append

# SQLite has a single lock.
pytestmark = pytest.mark.parametrize("backend", ["postgres"])


async def two_batches_name_the_same_topics_in_opposite_order(
    scene: Scene,
) -> tuple[list[Outcome], list[Outcome]]:
    """Both are let into their locking statement and stop at the middle topic, held by a third."""
    await scene.a.append([event(topic, "seed") for topic in "amz"])
    third = scene.observer.connection.transaction()
    async with scene.interleaving() as run:
        await third.start()
        await scene.observer.fetch("SELECT * FROM topics WHERE topic = 'm' FOR UPDATE")
        await run.start("a", scene.a, [event(topic, "new") for topic in "amz"])
        await run.until("a", "LOCK_TOPICS")
        await run.step("a")
        await run.start("b", scene.b, [event(topic, "new") for topic in "zma"])
        await run.until("b", "LOCK_TOPICS")
        await run.step("b")
        assert run.names(State.BLOCKED) == ["a", "b"]
        await third.rollback()
        # Either one gets what it wants, or the server ends a circle.
        await run.until_unblocked("a", "b")
        for name in "abab":
            await run.finish(name)
        (await scene.observer.snapshot()).assert_sound()
        return run.outcomes("a"), run.outcomes("b")


async def test_batches_that_lock_in_sorted_order_both_go_through(scene: Scene) -> None:
    (a,), (b,) = await two_batches_name_the_same_topics_in_opposite_order(scene)
    assert told(a) == [("stored", 2)] * 3
    assert told(b) == [("duplicate", 2)] * 3


async def test_batches_that_lock_in_arrival_order_end_in_a_deadlock(scene: Scene) -> None:
    scene.patch.setattr(postgres_locked_append, "BatchDeduplicator", ArrivalOrder)
    (a,), (b,) = await two_batches_name_the_same_topics_in_opposite_order(scene)
    victim, survivor = (a, b) if isinstance(a, Exception) else (b, a)
    assert isinstance(victim, StorageUnavailable)
    assert "deadlock detected" in str(victim)
    assert told(survivor) == [("stored", 2)] * 3
