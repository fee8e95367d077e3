"""What a double answers to the requests of consumers, beyond the cases that it shares."""

import pytest

from subscriber import LeaseLost
from subscriber.calls.requests import Death, Settle
from subscriber.testing import InMemoryAggregator, Revived


def made(count: int, **settings: object) -> InMemoryAggregator:
    """An aggregator with a subscription to `orders`, which has so many events."""
    aggregator = InMemoryAggregator()
    aggregator.create("billing", {"topics": ["orders"], "from": "start", **settings})
    for _ in range(count):
        aggregator.publish("orders", {})
    return aggregator


async def test_clock_that_is_moved_on_runs_leases_out() -> None:
    aggregator = made(1, lease_ms=30_000)
    first, second = aggregator.calls(), aggregator.calls()
    held = await first.lease("billing", "w", 10, 0, None)
    aggregator.advance(29.9)
    assert (await second.lease("billing", "v", 10, 0, None)).lease is None
    assert aggregator.subscription("billing").leased == 1
    aggregator.advance(0.1)
    assert aggregator.subscription("billing").waiting == 1
    again = await second.lease("billing", "v", 10, 0, None)
    assert [each.delivery for each in again.deliveries] == [2]
    assert held.lease != again.lease


async def test_lag_is_since_the_oldest_event_was_stored() -> None:
    aggregator = made(0)
    assert (await aggregator.calls().lease("billing", "w", 1, 0, None)).lag_seconds == 0
    aggregator.publish("orders", {})
    aggregator.advance(2.5)
    aggregator.publish("orders", {})
    aggregator.advance(1)
    leased = await aggregator.calls().lease("billing", "w", 1, 0, None)
    assert (leased.lag_events, leased.lag_seconds) == (2, 3.5)


async def test_settle_is_answered_again_for_a_day_unless_its_label_ends_another_lease() -> None:
    aggregator = made(3, order="none")
    calls = aggregator.calls()

    async def settled(consumer: str) -> Settle:
        leased = await calls.lease("billing", consumer, 1, 0, None)
        assert leased.lease is not None
        ack = [(each.topic, each.offset, each.offset) for each in leased.deliveries]
        settle = Settle(leased.lease, ack=ack)
        await calls.settle("billing", settle)
        return settle

    first, other, second = [await settled(consumer) for consumer in "wvw"]
    with pytest.raises(LeaseLost):
        await calls.settle("billing", first)
    aggregator.advance(86_399)
    for settle in (other, second):
        assert (await calls.settle("billing", settle)).acknowledged == 1
    aggregator.advance(1)
    # What is a day old is forgotten when the next is remembered.
    aggregator.publish("orders", {})
    await settled("u")
    for settle in (other, second):
        with pytest.raises(LeaseLost):
            await calls.settle("billing", settle)


async def test_ten_thousand_dead_letters_are_retried_at_a_time() -> None:
    aggregator = made(10_001, max_leased=100_000, stop_after_dead=None)
    calls = aggregator.calls()
    for count in (10_000, 1):
        leased = await calls.lease("billing", "w", 10_000, 0, None)
        assert leased.lease is not None
        dead = [Death("orders", each.offset, None) for each in leased.deliveries]
        assert (await calls.settle("billing", Settle(leased.lease, dead=dead))).dead == count
    assert aggregator.retry_dead("billing") == Revived(retried=10_000, left=1)
    assert aggregator.retry_dead("billing") == Revived(retried=1, left=0)
