"""Counts are written in the transaction of their events: nobody ever sees one without the other."""

import pytest
from support.events import event
from support.interleaving import State
from support.observer import Snapshot
from support.scene import Scene, told
from support.unprotected import count_afterwards

from storage.errors import BatchRefused, StorageUnavailable

BATCH = ["x", "y", "x"]


async def look_after_every_statement(scene: Scene) -> list[Snapshot]:
    seen = []
    async with scene.interleaving() as run:
        await run.start("a", scene.a, [event("t", name) for name in BATCH])
        while run.state("a") is State.STOPPED:
            await run.step("a")
            seen.append(await scene.observer.snapshot())
        assert told(run.outcomes("a")[0]) == [("stored", 1), ("stored", 2), ("duplicate", 1)]
    return seen


async def test_a_reader_sees_events_and_counts_together_or_neither(scene: Scene) -> None:
    seen = await look_after_every_statement(scene)
    for snapshot in seen:
        snapshot.assert_sound()
        assert (snapshot.counts, len(snapshot.keys)) in [({}, 0), ({"t": (3, 2, 1, 0)}, 2)]


async def test_counts_of_a_later_transaction_lag_behind_for_a_reader(scene: Scene) -> None:
    count_afterwards(scene.backend, scene.patch)
    seen = await look_after_every_statement(scene)
    assert [snapshot.is_sound for snapshot in seen].count(False) == 1
    assert seen[-1].is_sound


async def crash_before_the_counts(scene: Scene, statement: str = "COUNT") -> Snapshot:
    """The writer dies when it is about to write the counts, in the statement given."""
    async with scene.interleaving() as run:
        await run.start("a", scene.a, [event("t", name) for name in BATCH])
        await run.until("a", statement)
        (outcome,) = await run.crash("a")
        assert isinstance(outcome, StorageUnavailable)
    return await scene.observer.snapshot()


async def test_a_crash_before_the_counts_leaves_nothing_and_a_retry_stores_all(
    scene: Scene,
) -> None:
    statement = "STORE" if scene.backend == "postgres" else "COUNT"
    assert await crash_before_the_counts(scene, statement) == Snapshot({}, [])
    again = await scene.b.append([event("t", name) for name in BATCH])
    assert told(again) == [("stored", 1), ("stored", 2), ("duplicate", 1)]


async def test_a_crash_before_counts_of_a_later_transaction_breaks_the_log_for_good(
    scene: Scene,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        count_afterwards(scene.backend, patch)
        snapshot = await crash_before_the_counts(scene._replace(patch=patch))
    assert not snapshot.is_sound
    assert len(snapshot.keys) == 2
    # The next event would get an offset that is taken.
    with pytest.raises(BatchRefused):
        await scene.b.append([event("t", "z")])
    assert not (await scene.observer.snapshot()).is_sound
