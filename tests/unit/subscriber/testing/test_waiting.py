"""What a consumer of a double waits for, and when the clock moves by itself."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from subscriber import SubscriptionRefused
from subscriber.calls.requests import CallFailed, Calls, Leased, Retry, Settings, Settle
from subscriber.testing import InMemoryAggregator, leases
from subscriber.testing import calls as calls_module
from subscriber.testing.wakeups import Wakeups

LONG_MS = 60_000
"""Longer than a test waits: what is answered is answered for another reason."""


@pytest.fixture(autouse=True)
def _all_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait in which nothing comes lasts all of its time."""
    monkeypatch.setattr(calls_module, "_REAL_SHARE", 1.0)


def made(count: int, **settings: object) -> InMemoryAggregator:
    """An aggregator with a subscription to `orders`, which has so many events."""
    aggregator = InMemoryAggregator()
    aggregator.create("billing", {"topics": ["orders"], "from": "start", **settings})
    for _ in range(count):
        aggregator.publish("orders", {})
    return aggregator


async def lease(calls: Calls, wait_ms: int = 0, settle: Settle | None = None) -> Leased:
    """Lease up to ten events."""
    return await calls.lease("billing", "w", 10, wait_ms, settle)


async def waiting(aggregator: InMemoryAggregator) -> "asyncio.Task[Leased]":
    """A lease that is being waited for."""
    task = asyncio.create_task(lease(aggregator.calls(), LONG_MS))
    await until(lambda: len(aggregator._parts.wakeups) > 0)
    return task


async def soon(task: "asyncio.Task[Leased]") -> Leased:
    """What is answered before the time of the wait is over."""
    return await asyncio.wait_for(task, LONG_MS / 2000)


async def until(holds: Callable[[], bool]) -> None:
    """Return once a condition holds."""
    async with asyncio.timeout(30):
        while True:
            if holds():
                return
            await asyncio.sleep(0)


def given(leased: Leased) -> list[tuple[int, int]]:
    """Offsets, and numbers of deliveries."""
    return [(each.offset, each.delivery) for each in leased.deliveries]


async def test_lease_waits_for_a_publish() -> None:
    aggregator = made(0)
    task = await waiting(aggregator)
    aggregator.publish("other", {})
    await asyncio.sleep(0)
    assert not task.done()
    aggregator.publish("orders", {})
    assert given(await soon(task)) == [(1, 1)]
    assert len(aggregator._parts.wakeups) == 0


async def test_lease_waits_for_a_topic_that_appears() -> None:
    aggregator = InMemoryAggregator()
    aggregator.create("billing", {"topics": ["new.*"]})
    task = await waiting(aggregator)
    aggregator.publish("new.1", {})
    assert given(await soon(task)) == [(1, 1)]


async def test_lease_waits_for_a_settle_of_another() -> None:
    aggregator = made(1)
    held = await lease(aggregator.calls())
    task = await waiting(aggregator)
    assert held.lease is not None
    settle = Settle(held.lease, release=[("orders", 1, 1)])
    await aggregator.calls().settle("billing", settle)
    assert given(await soon(task)) == [(1, 1)]


async def test_lease_waits_for_a_settle_that_a_lease_carries() -> None:
    aggregator = made(3, order="none", max_leased=2)
    calls = aggregator.calls()
    held = await lease(calls)
    assert held.lease is not None
    task = await waiting(aggregator)
    release = Settle(held.lease, release=[("orders", 1, 2)])
    assert given(await calls.lease("billing", "v", 1, 0, release)) == [(1, 1)]
    assert given(await soon(task)) == [(2, 1)]


async def test_lease_waits_for_a_resume() -> None:
    aggregator = made(1)
    aggregator.pause("billing")
    task = await waiting(aggregator)
    aggregator.resume("billing")
    assert given(await soon(task)) == [(1, 1)]


async def test_lease_waits_for_a_seek() -> None:
    aggregator = made(1)
    aggregator.seek("billing", "now")
    task = await waiting(aggregator)
    aggregator.seek("billing", "start")
    assert given(await soon(task)) == [(1, 1)]


async def test_lease_waits_for_the_clock_while_another_is_held() -> None:
    aggregator = made(1)
    await lease(aggregator.calls())
    begun = aggregator.now
    task = await waiting(aggregator)
    assert aggregator.now == begun
    aggregator.advance(30)
    assert given(await soon(task)) == [(1, 2)]


async def test_lease_waits_for_leases_to_be_lost() -> None:
    aggregator = made(1)
    await lease(aggregator.calls())
    task = await waiting(aggregator)
    aggregator.lose_leases("billing")
    assert given(await soon(task)) == [(1, 2)]


async def test_who_waits_is_told_that_its_subscription_is_deleted() -> None:
    aggregator = made(0)
    task = await waiting(aggregator)
    aggregator.delete("billing")
    with pytest.raises(SubscriptionRefused, match="404"):
        await soon(task)


async def test_calls_are_done_when_others_had_their_turn() -> None:
    aggregator = made(0, order="none", lease_ms=5000)
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    assert await aggregator.calls().settings("billing") == Settings(False, 5000)
    assert turns == [1]


async def test_wait_ends_without_events() -> None:
    leased = await lease(made(0).calls(), 1)
    assert (leased.lease, leased.deliveries, leased.lag_events) == (None, [], 0)


async def test_clock_moves_past_a_backoff_when_nobody_has_a_lease() -> None:
    aggregator = made(2, order="none", backoff_ms=[60_000])
    calls, begun = aggregator.calls(), aggregator.now
    held = await lease(calls)
    assert held.lease is not None
    retry = Settle(held.lease, retry=[Retry("orders", 1, None, None)])
    await calls.settle("billing", retry)
    # Without a wait, and while somebody has a lease, it stands still.
    assert given(await lease(calls)) == []
    task = await waiting(aggregator)
    assert aggregator.now == begun
    await calls.settle("billing", Settle(held.lease, ack=[("orders", 2, 2)]))
    assert given(await soon(task)) == [(1, 2)]
    assert aggregator.now == begun + timedelta(minutes=1)


async def test_clock_stands_still_for_leases_of_other_subscriptions() -> None:
    aggregator = made(1, backoff_ms=[60_000])
    aggregator.create("other", {"topics": ["orders"], "from": "start"})
    calls, begun = aggregator.calls(), aggregator.now
    other = await calls.lease("other", "w", 1, 0, None)
    held = await lease(calls)
    assert held.lease is not None
    assert other.lease is not None
    await calls.settle("billing", Settle(held.lease, retry=[Retry("orders", 1, None, None)]))
    task = await waiting(aggregator)
    assert aggregator.now == begun
    await calls.settle("other", Settle(other.lease, ack=[("orders", 1, 1)]))
    assert given(await soon(task)) == [(1, 2)]


async def test_settle_ahead_of_a_wait_is_done_once_and_told_at_its_end() -> None:
    aggregator = made(1)
    held = await lease(aggregator.calls())
    assert held.lease is not None
    settle = Settle(held.lease, ack=[("orders", 1, 1)])
    task = asyncio.create_task(lease(aggregator.calls(), LONG_MS, settle))
    await until(lambda: aggregator.subscription("billing").acknowledged == 1)
    aggregator.publish("orders", {})
    leased = await soon(task)
    assert given(leased) == [(2, 1)]
    assert leased.settled is not None
    assert leased.settled.acknowledged == 1


async def test_wait_that_is_given_up_takes_nothing() -> None:
    aggregator = made(0)
    task = await waiting(aggregator)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    aggregator.publish("orders", {})
    assert aggregator.subscription("billing").waiting == 1
    assert given(await lease(aggregator.calls())) == [(1, 1)]


async def test_lease_whose_answer_is_lost_is_released() -> None:
    aggregator = made(1)
    aggregator.fail_next(is_done=True)
    with pytest.raises(CallFailed, match="cannot connect"):
        await lease(aggregator.calls())
    assert aggregator.subscription("billing").waiting == 1
    assert given(await lease(aggregator.calls())) == [(1, 1)]


async def test_settle_whose_answer_is_lost_is_done() -> None:
    aggregator = made(1)
    calls = aggregator.calls()
    held = await lease(calls)
    assert held.lease is not None
    settle = Settle(held.lease, ack=[("orders", 1, 1)])
    aggregator.fail_next(is_done=True)
    with pytest.raises(CallFailed):
        await calls.settle("billing", settle)
    aggregator.fail_next()
    with pytest.raises(CallFailed):
        await calls.settle("billing", settle)
    assert aggregator.subscription("billing").acknowledged == 1
    assert (await calls.settle("billing", settle)).acknowledged == 1


async def test_filter_that_leaves_out_very_much_is_waited_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert leases._WINDOW_ROWS * leases._MAX_WINDOWS == 200_000
    monkeypatch.setattr(leases, "_WINDOW_ROWS", 2)
    aggregator = made(21, source="rare")
    aggregator.publish("orders", {}, source="rare")
    assert given(await lease(aggregator.calls())) == []
    assert aggregator.subscription("billing").acknowledged == 20
    aggregator.seek("billing", "start")
    task = asyncio.create_task(lease(aggregator.calls(), LONG_MS))
    assert given(await soon(task)) == [(22, 1)]


async def test_settle_ahead_of_windows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_WINDOW_ROWS", 2)
    aggregator = made(0, source="rare")
    for source in ("rare", *["often"] * 7, "rare"):
        aggregator.publish("orders", {}, source=source)
    calls = aggregator.calls()
    held = await calls.lease("billing", "w", 1, 0, None)
    assert held.lease is not None
    leased = await lease(calls, 0, Settle(held.lease, ack=[("orders", 1, 1)]))
    assert given(leased) == [(9, 1)]
    assert leased.settled is not None
    assert leased.settled.acknowledged == 1


async def test_other_thread_wakes_who_waits() -> None:
    # In debug mode a loop refuses what is not safe in another thread.
    asyncio.get_running_loop().set_debug(True)
    aggregator = made(0)
    task = await waiting(aggregator)
    await asyncio.to_thread(aggregator.publish, "orders", {})
    assert given(await soon(task)) == [(1, 1)]


def test_loop_that_is_closed_is_not_woken() -> None:
    wakeups = Wakeups()

    async def wait() -> "asyncio.Future[None]":
        return wakeups.add()

    loop = asyncio.new_event_loop()
    future = loop.run_until_complete(wait())
    loop.close()
    wakeups.wake()
    assert not future.done()
