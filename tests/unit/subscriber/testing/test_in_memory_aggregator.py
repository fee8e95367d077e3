"""Handlers tested with a double of an aggregator, as its users do."""

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest

from subscriber import Batch, Delivery, LeaseLost, ReconnectPolicy, SubscriptionRefused, Wait
from subscriber.blocking_delivery import BlockingDelivery
from subscriber.testing import InMemoryAggregator, Published, Revived, Sought

SETTINGS = {"topics": ["orders"], "from": "start"}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What handlers fail of is logged with its traceback."""
    caplog.set_level(logging.CRITICAL, "subscriber")


def made(count: int = 3, **settings: object) -> InMemoryAggregator:
    """An aggregator with a subscription to `orders`, which has so many events."""
    aggregator = InMemoryAggregator()
    aggregator.create("billing", SETTINGS | settings)
    for number in range(count):
        aggregator.publish("orders", {"number": number})
    return aggregator


async def test_handler_gets_what_was_published() -> None:
    aggregator, totals = made(0), []
    aggregator.publish("orders", {"total": 42}, event_id="o-1", source="shop")

    async def handle(delivery: Delivery) -> None:
        event = delivery.event
        totals.append((event.topic, event.event_id, event.source, event.payload, event.offset))

    async with aggregator.subscriber("billing") as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert totals == [("orders", "o-1", "shop", {"total": 42}, 1)]
    assert aggregator.subscription("billing").acknowledged == 1


async def test_poison_event_is_dead_after_its_backoffs_in_no_time() -> None:
    aggregator = made(max_deliveries=4, backoff_ms=[60_000, 3_600_000])
    begun, times = aggregator.now, []

    async def handle(delivery: Delivery) -> None:
        if delivery.event.payload == {"number": 1}:
            times.append(aggregator.now - begun)
            raise ValueError(f"number 1, delivery {delivery.delivery}")

    async with aggregator.subscriber("billing") as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    minute = timedelta(minutes=1)
    assert times == [0 * minute, minute, 61 * minute, 121 * minute]
    (letter,) = aggregator.dead_letters("billing")
    assert (letter.topic, letter.offset, letter.deliveries) == ("orders", 2, 4)
    assert letter.first_error == "ValueError: number 1, delivery 1"
    assert letter.last_error == "ValueError: number 1, delivery 4"
    assert letter.event == aggregator.events("orders")[1]
    assert (letter.first_failed_at, letter.dead_at) == (begun, aggregator.now)
    status = aggregator.subscription("billing")
    assert (status.acknowledged, status.dead, status.redelivered) == (2, 1, 3)


async def test_dead_letters_are_retried_and_dropped() -> None:
    aggregator = made()

    async def bury(delivery: Delivery) -> None:
        await delivery.dead("no use")

    async with aggregator.subscriber("billing") as subscriber:
        await subscriber.run(bury, until_caught_up=True)
    aggregator.drop_dead("billing", "orders", 2)
    assert aggregator.retry_dead("billing", [("orders", 1, 2)]) == Revived(retried=1, left=0)
    assert [each.offset for each in aggregator.dead_letters("billing")] == [3]
    assert aggregator.retry_dead("billing") == Revived(retried=1, left=0)
    status = aggregator.subscription("billing").topics["orders"]
    assert (status.acknowledged, status.dead, status.waiting) == (1, 0, 2)
    with pytest.raises(SubscriptionRefused, match="404"):
        aggregator.drop_dead("billing", "orders", 1)


async def test_batches_are_halved() -> None:
    aggregator, sizes = made(8, max_deliveries=1), []

    async def handle(batch: Batch) -> None:
        sizes.append(len(batch))
        if any(event.payload == {"number": 5} for event in batch.events):
            raise ValueError

    async with aggregator.subscriber("billing") as subscriber:
        await subscriber.run_batches(handle, 8, until_caught_up=True)
    assert sizes[:4] == [8, 4, 4, 2]
    assert [each.offset for each in aggregator.dead_letters("billing")] == [6]
    assert aggregator.subscription("billing").acknowledged == 7


def test_blocking_handlers_in_threads() -> None:
    aggregator, seen = made(20, order="none", backoff_ms=[60_000]), []

    def handle(delivery: BlockingDelivery) -> None:
        seen.append(delivery.offset)
        if delivery.offset == 7 and delivery.delivery == 1:
            raise ValueError

    with aggregator.blocking_subscriber("billing") as subscriber:
        subscriber.run(handle, concurrency=4, until_caught_up=True)
    assert sorted(seen) == sorted([*range(1, 21), 7])
    assert aggregator.subscription("billing").acknowledged == 20


def test_blocking_loop_gets_what_another_thread_publishes() -> None:
    aggregator = made(0)
    publisher = threading.Thread(target=lambda: aggregator.publish("orders", {}))
    with aggregator.blocking_subscriber("billing") as subscriber:
        deliveries = iter(subscriber)
        publisher.start()
        assert next(deliveries).offset == 1
    publisher.join()


async def test_results_of_a_handler_are_stored_once() -> None:
    aggregator = made(2)

    async def invoice(delivery: Delivery) -> None:
        event_id = f"{delivery.topic}/{delivery.offset}/invoice"
        aggregator.publish("invoices", {}, event_id=event_id)
        if delivery.delivery == 1:
            raise ValueError

    async with aggregator.subscriber("billing") as subscriber:
        await subscriber.run(invoice, until_caught_up=True)
    invoices = [event.event_id for event in aggregator.events("invoices")]
    assert invoices == ["orders/1/invoice", "orders/2/invoice"]


async def test_lost_lease_ends_a_handler() -> None:
    aggregator, begun = made(1, lease_ms=1000), []

    async def handle(delivery: Delivery) -> None:
        begun.append(delivery.delivery)
        if delivery.delivery == 1:
            aggregator.lose_leases("billing")
            with pytest.raises(LeaseLost):
                await delivery.ack()

    async with aggregator.subscriber("billing") as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert begun == [1, 2]
    assert aggregator.now == datetime(2026, 1, 1, tzinfo=UTC)


async def test_consumer_goes_on_after_requests_that_fail() -> None:
    aggregator, seen = made(4), []
    waits: list[Wait] = []

    async def handle(delivery: Delivery) -> None:
        seen.append((delivery.offset, delivery.delivery))
        if delivery.offset == 2:
            aggregator.fail_next(2, "cannot connect to it")
            aggregator.fail_next(2, "the answer was cut off", is_done=True)

    policy = ReconnectPolicy(first_wait_s=0.0, max_wait_s=0.0)
    async with aggregator.subscriber("billing", policy=policy, on_wait=waits.append) as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert [wait.reason for wait in waits] == [
        "cannot connect to it",
        "cannot connect to it",
        "the answer was cut off",
        "the answer was cut off",
    ]
    assert seen == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert aggregator.subscription("billing").acknowledged == 4


async def test_subscription_is_paused_moved_and_deleted() -> None:
    aggregator = made()
    aggregator.pause("billing")
    assert aggregator.subscription("billing").reason == "paused by request"
    assert (await aggregator.calls().lease("billing", "w", 1, 0, None)).lease is None
    aggregator.resume("billing")
    assert aggregator.subscription("billing").state == "active"
    assert aggregator.seek("billing", "now", dry_run=True) == Sought(again=0, skipped=3)
    assert aggregator.seek("billing", {"offsets": {"orders": 2}}) == Sought(again=0, skipped=2)
    leased = await aggregator.calls().lease("billing", "w", 10, 0, None)
    assert [each.offset for each in leased.deliveries] == [3]
    assert aggregator.subscriptions() == ["billing"]
    aggregator.delete("billing")
    assert aggregator.subscriptions() == []
    for asked in (aggregator.subscription, aggregator.pause, aggregator.lose_leases):
        with pytest.raises(SubscriptionRefused, match="no subscription 'billing'"):
            asked("billing")


async def test_subscription_is_made_by_its_consumer() -> None:
    aggregator = InMemoryAggregator()

    async def handle(delivery: Delivery) -> None:
        raise AssertionError(delivery)

    for _ in range(2):
        async with aggregator.subscriber("billing", create=SETTINGS) as subscriber:
            await subscriber.run(handle, until_caught_up=True)
    assert not aggregator.create("billing", SETTINGS)
    with pytest.raises(SubscriptionRefused, match="lease_ms is 30000, not 5000"):
        aggregator.create("billing", SETTINGS | {"lease_ms": 5000})


async def test_time_of_events_is_that_of_the_clock() -> None:
    begun = datetime(2020, 2, 29, 12, tzinfo=UTC)
    aggregator = InMemoryAggregator(now=begun)
    aggregator.publish("orders", {})
    aggregator.advance(1.5)
    aggregator.publish("orders", {}, timestamp="2019-01-01T00:00:00+01:00")
    first, second = aggregator.events("orders")
    assert first.timestamp == first.ts_ingest == begun
    assert second.timestamp == datetime(2018, 12, 31, 23, tzinfo=UTC)
    assert second.ts_ingest == aggregator.now == begun + timedelta(seconds=1.5)
    aggregator.create("since", {"topics": ["orders"], "from": {"since": "1s"}})
    aggregator.create("at", {"topics": ["orders"], "from": {"since": aggregator.now.isoformat()}})
    assert [aggregator.subscription(name).start for name in ("since", "at")] == [1, 1]
    with pytest.raises(ValueError, match="0 seconds or more"):
        aggregator.advance(-1)


def test_ids_are_made_up_where_none_is_given() -> None:
    aggregator = InMemoryAggregator()
    aggregator.publish("orders", {}, event_id="event-2")
    published = [aggregator.publish("orders", {}) for _ in range(3)]
    assert [each.status for each in published] == ["stored"] * 3
    assert len({each.event_id for each in published} | {"event-2"}) == 4
    repeated = aggregator.publish("orders", {"a": 1}, event_id="event-2")
    assert repeated == Published("orders", "event-2", "conflict", 1)


async def test_calls_are_closed_with_their_consumer() -> None:
    aggregator = made()
    calls = aggregator.calls()
    await calls.aclose()
    with pytest.raises(RuntimeError):
        await calls.settings("billing")


async def test_many_consumers_share_a_subscription() -> None:
    aggregator, seen = made(50, order="none"), []

    async def consume() -> None:
        async def handle(delivery: Delivery) -> None:
            await asyncio.sleep(0)
            seen.append(delivery.offset)

        async with aggregator.subscriber("billing", max_events=3) as subscriber:
            await subscriber.run(handle, concurrency=3, until_caught_up=True)

    await asyncio.gather(*(consume() for _ in range(4)))
    assert sorted(seen) == list(range(1, 51))
