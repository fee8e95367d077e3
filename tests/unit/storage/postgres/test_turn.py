"""Turns: one batch at a time is decided, on what the one before will leave behind."""

import asyncio
from uuid import UUID

import pytest

from storage.deduplication import BatchDeduplicator, Head
from storage.model import Event
from storage.postgres.turn import NOTHING_PENDING, PendingAppend, Turn, TurnQueue

FIRST = PendingAppend("first", {}, {"t": 1}, ())
SECOND = PendingAppend("second", {}, {"t": 2}, ())


class Batch:
    """A batch that holds its turn until it is told what to do with it."""

    def __init__(self, queue: TurnQueue) -> None:
        self._queue = queue
        self._end = asyncio.Event()
        self.turn: Turn | None = None
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self._queue.next_turn() as turn:
            self.turn = turn
            await self._end.wait()

    async def end(self) -> None:
        self._end.set()
        await self.task


async def begun(queue: TurnQueue) -> Batch:
    """A batch that has come as far as it can."""
    batch = Batch(queue)
    for _ in range(5):
        await asyncio.sleep(0)
    return batch


def turn_of(batch: Batch) -> Turn:
    assert batch.turn is not None
    return batch.turn


async def test_the_next_batch_has_its_turn_once_the_one_before_passes_it_on() -> None:
    queue = TurnQueue()
    first, second = await begun(queue), await begun(queue)
    assert turn_of(first).previous == NOTHING_PENDING
    assert turn_of(first).is_held
    assert second.turn is None
    turn_of(first).pass_on(FIRST)
    assert not turn_of(first).is_held
    third = await begun(queue)
    assert turn_of(second).previous is FIRST
    assert third.turn is None
    for batch in (first, second, third):
        await batch.end()


async def test_a_turn_that_is_released_leaves_nothing_to_build_on() -> None:
    queue = TurnQueue()
    first, second = await begun(queue), await begun(queue)
    turn_of(first).release()
    third = await begun(queue)
    assert turn_of(second).previous == NOTHING_PENDING
    # What comes later is known to whoever looks later.
    turn_of(first).pass_on(FIRST)
    assert turn_of(second).previous is FIRST
    assert third.turn is None
    for batch in (first, second, third):
        await batch.end()


async def test_a_turn_is_passed_on_once_however_often_it_is_asked_for() -> None:
    queue = TurnQueue()
    first, second, third = [await begun(queue) for _ in range(3)]
    turn_of(first).pass_on(FIRST)
    turn_of(first).pass_on(SECOND)
    turn_of(first).release()
    for _ in range(5):
        await asyncio.sleep(0)
    assert turn_of(second).previous is SECOND
    assert third.turn is None
    for batch in (first, second, third):
        await batch.end()


async def test_a_batch_that_ends_leaves_what_a_later_one_passed_on() -> None:
    queue = TurnQueue()
    first, second = await begun(queue), await begun(queue)
    turn_of(first).pass_on(FIRST)
    await asyncio.sleep(0)
    turn_of(second).pass_on(SECOND)
    await first.end()
    assert queue.pending is SECOND
    await second.end()
    assert queue.pending is None


async def test_a_batch_that_was_never_decided_leaves_what_the_one_before_passed_on() -> None:
    queue = TurnQueue()
    first, second = await begun(queue), await begun(queue)
    turn_of(first).pass_on(FIRST)
    await asyncio.sleep(0)
    await second.end()
    assert queue.pending is FIRST
    await first.end()
    assert queue.pending is None


async def test_a_batch_that_fails_or_is_cancelled_does_not_keep_its_turn() -> None:
    queue = TurnQueue()
    with pytest.raises(ValueError, match="failed"):
        async with queue.next_turn():
            raise ValueError("failed")
    first, waiting, last = [await begun(queue) for _ in range(3)]
    waiting.task.cancel()
    first.task.cancel()
    await asyncio.wait([waiting.task, first.task])
    await asyncio.sleep(0)
    assert turn_of(last).previous == NOTHING_PENDING
    await last.end()
    assert not queue.lock.locked()


def test_a_pending_append_has_an_id_of_its_own_and_the_heads_that_it_will_leave() -> None:
    batch = [Event("t", name, 0, "shop", "{}") for name in ("a", "b", "a")]
    heads = {"t": Head(5, 0)}
    decision = BatchDeduplicator(batch).decide(heads)
    one, other = (PendingAppend.of(decision, heads, {"t": "before"}) for _ in range(2))
    assert UUID(one.append_id) != UUID(other.append_id)
    assert (one.previous_ids, one.heads) == ({"t": "before"}, {"t": 7})
    assert [row.event_id for row in one.rows] == ["a", "b"]
