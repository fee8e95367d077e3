"""The queue of what was not begun: which deliveries may be taken, and what it keeps."""

import asyncio
import gc
import weakref
from collections.abc import Sequence

import pytest

from subscriber.calls.requests import Delivered, Leased
from subscriber.consuming.held_lease import HeldLease
from subscriber.consuming.ready_queue import ReadyQueue
from subscriber.delivery import Delivery, Fate


def lease_of(*places: tuple[str, int] | tuple[str, int, int]) -> HeldLease:
    """A lease with deliveries of topics and offsets, and of numbers where they are not 1."""
    delivered = [Delivered(place[0], place[1], (*place, 1)[2], b"{}") for place in places]
    leased = Leased("l", 30.0, delivered, len(places), 0.0)
    now_s = asyncio.get_running_loop().time()
    return HeldLease(leased, keeps_order=True, asked_at=now_s, changed=lambda: None)


def given(taken: tuple[HeldLease, Sequence[Delivery]] | None) -> list[tuple[str, int]]:
    """Topics and offsets of what was taken."""
    return [] if taken is None else [(each.topic, each.offset) for each in taken[1]]


@pytest.mark.parametrize("keeps_order", [True, False])
async def test_lease_of_which_all_was_taken_is_not_kept(keeps_order: bool) -> None:
    """Also while others are always there to be taken, and an older one is not done."""
    queue = ReadyQueue(keeps_order=keeps_order)
    slow = lease_of(("slow", 1), ("slow", 2))
    queue.put(slow)
    assert given(queue.take(1)) == [("slow", 1)]
    kept: list[weakref.ref[HeldLease]] = []
    for offset in range(1, 4):
        lease = lease_of(("quick", offset))
        kept.append(weakref.ref(lease))
        queue.put(lease)
    queue.put(lease_of(("quick", 4)))
    del lease
    if not keeps_order:
        assert given(queue.take(1)) == [("slow", 2)]
    for offset in range(1, 4):
        taken = queue.take(1)
        assert given(taken) == [("quick", offset)]
        assert taken is not None
        queue.free(taken[1])
    del taken
    gc.collect()
    assert [each() for each in kept] == [None] * 3


async def test_topic_that_is_handled_is_not_taken_before_it_is_free() -> None:
    queue = ReadyQueue(keeps_order=True)
    queue.put(lease_of(("a", 1), ("b", 1), ("a", 2)))
    first = queue.take(1)
    assert given(first) == [("a", 1)]
    assert queue.startable() == 1
    assert given(queue.take(5)) == [("b", 1)]
    assert queue.take(1) is None
    assert queue.startable() == 0
    assert first is not None
    queue.free(first[1])
    assert given(queue.take(1)) == [("a", 2)]


async def test_topic_waits_for_a_handler_of_a_lease_before() -> None:
    queue = ReadyQueue(keeps_order=True)
    lost, again = lease_of(("a", 1), ("a", 2)), lease_of(("a", 1), ("a", 2))
    queue.put(lost)
    first = queue.take(1)
    assert first is not None
    lost.lose()
    queue.put(again)
    assert queue.take(2) is None
    queue.free(first[1])
    taken = queue.take(2)
    assert taken is not None
    assert (taken[0], given(taken)) == (again, [("a", 1), ("a", 2)])


async def test_what_was_handed_back_or_lost_is_not_taken() -> None:
    queue = ReadyQueue(keeps_order=False)
    lease = lease_of(("a", 1), ("a", 2), ("a", 3))
    queue.put(lease)
    lease.deliveries[0].fate = Fate.HANDED_BACK
    lease.deliveries[1].fate = Fate.LOST
    assert given(queue.take(1)) == [("a", 3)]
    assert queue.take(1) is None


async def test_batch_has_topics_whole_as_far_as_they_fit() -> None:
    queue = ReadyQueue(keeps_order=True)
    queue.put(lease_of(("a", 1), ("b", 1), ("a", 2), ("b", 2), ("c", 1)))
    assert given(queue.take(3)) == [("a", 1), ("a", 2), ("b", 1)]
    assert given(queue.take(3)) == [("c", 1)]


async def test_what_comes_again_comes_alone_where_it_is_to() -> None:
    queue = ReadyQueue(keeps_order=False)
    queue.put(lease_of(("a", 1), ("a", 2, 2), ("a", 3, 2), ("a", 4), ("a", 5)))
    batches = [given(queue.take(9, alone=True)) for _ in range(5)]
    assert batches == [[("a", 1)], [("a", 2)], [("a", 3)], [("a", 4), ("a", 5)], []]


async def test_drain_takes_all_that_was_not_begun() -> None:
    queue = ReadyQueue(keeps_order=True)
    lease, other = lease_of(("a", 1), ("b", 1), ("a", 2)), lease_of(("c", 1))
    queue.put(lease)
    queue.put(other)
    queue.take(1)
    drained = [(each, given((each, taken))) for each, taken in queue.drain()]
    assert drained == [(lease, [("a", 2), ("b", 1)]), (other, [("c", 1)])]
    assert queue.take(1) is None
