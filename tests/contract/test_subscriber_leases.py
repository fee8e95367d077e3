"""Leases that the library keeps, and what happens when one is lost.

The numbers are those of docs/use/subscriber.md.
"""

import asyncio
import logging
from contextlib import suppress

import pytest
from support.http import Client
from support.library import Record, subscriber_of, until_leased, within
from support.load import until
from support.subscribing import ack_all, counts, fill, lease, look, make, send
from support.tasks import StartSoon

from subscriber import Batch, Delivery, LeaseLost
from subscriber.consuming import lease_keeper

LEASE_S = 1.0
"""The shortest that there is."""


async def test_a_handler_may_take_longer_than_a_lease(client: Client) -> None:
    """12. The lease is held over two ends that it would have had."""
    await fill(client, 3)
    await make(client, lease_ms=1000)
    record = Record()
    clock = asyncio.get_running_loop().time

    async def handle(delivery: Delivery) -> None:
        until_s = clock() + 2.2 * LEASE_S
        while clock() < until_s:
            await asyncio.sleep(0.2)
            assert counts(await look(client)) == [0, 0, 3, 0]
        subscriber.stop()

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run(record.handler(handle)))
    assert record.offsets() == [1]
    seen = await look(client)
    assert (counts(seen), seen["redelivered"]) == ([1, 0, 0, 2], 0)


async def test_a_lost_lease_cancels_its_handlers_and_the_others_go_on(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """13. A `seek` takes leases away; what was behind in the queue is not begun."""
    await fill(client, 4)
    await fill(client, 1, "payments")
    await make(client, "orders", "payments")
    record, cancelled = Record(), list[tuple[int, bool]]()
    together = asyncio.Barrier(2)

    async def handle(delivery: Delivery) -> None:
        if cancelled:
            return
        await together.wait()
        if delivery.topic == "payments":
            await send(client, "seek", {"from": "start"})
            with pytest.raises(LeaseLost):
                await delivery.ack()
            assert delivery.is_lost
            return
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append((delivery.offset, delivery.is_lost))
            raise

    async with subscriber_of(client) as subscriber:
        with caplog.at_level(logging.WARNING, "subscriber"):
            await within(
                subscriber.run(record.handler(handle), concurrency=2, until_caught_up=True)
            )
    assert cancelled == [(1, True)]
    assert record.offsets() == [1, 1, 2, 3, 4]
    assert counts(await look(client)) == [5, 0, 0, 0]
    assert "the lease of 1 deliveries was lost, from orders/1 on; they come again" in caplog.text


async def test_a_topic_waits_for_a_handler_that_does_not_end_at_once(client: Client) -> None:
    """2., 13."""
    await fill(client, 2)
    await fill(client, 1, "payments")
    await make(client, "orders", "payments")
    record, together, ends = Record(), asyncio.Barrier(2), asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        if ends.is_set() or record.handled.count((delivery.topic, delivery.offset)) > 1:
            return
        await together.wait()
        if delivery.topic == "payments":
            await send(client, "seek", {"from": "start"})
            with pytest.raises(LeaseLost):
                await delivery.ack()
            return
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            # The topic is leased anew by now, and nothing of it is begun.
            await until_leased(client, [0, 0, 3, 0], [1, 0, 2, 0])
            assert record.offsets() == [1]
            ends.set()
            raise

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run(record.handler(handle), concurrency=4, until_caught_up=True))
    assert ends.is_set()
    assert record.offsets() == [1, 1, 2]
    assert record.most_of_a_topic == 1


async def lose(client: Client, batch: Batch) -> None:
    """Have the lease of a batch taken away, and noticed: not by its first event."""
    await send(client, "seek", {"from": "start"})
    with pytest.raises(LeaseLost):
        await batch[1].ack()


async def test_a_lost_lease_ends_a_loop_as_a_timeout_does(client: Client) -> None:
    """13."""
    await fill(client, 2)
    await make(client)
    was_cancelled = False

    async def consume() -> None:
        nonlocal was_cancelled
        async with subscriber_of(client) as subscriber:
            async for batch in subscriber.batches():
                try:
                    await lose(client, batch)
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    was_cancelled = True
                    raise

    with pytest.raises(LeaseLost, match="has run out, or is somebody else's"):
        await consume()
    assert was_cancelled
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert counts(await look(client)) == [0, 0, 0, 2]


async def test_a_loop_that_goes_on_all_the_same_is_told_when_it_asks(client: Client) -> None:
    """13."""
    await fill(client, 2)
    await make(client)
    async with subscriber_of(client) as subscriber:
        batches = subscriber.batches()
        batch = await anext(batches)
        with suppress(asyncio.CancelledError):
            await lose(client, batch)
            await asyncio.sleep(60)
        with pytest.raises(LeaseLost):
            await anext(batches)
        again = await within(anext(batches))
        assert [each.delivery for each in again] == [1, 1]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_outside_stays_one(client: Client, start_soon: StartSoon) -> None:
    """6., 13. Also if the lease is lost in the same moment."""
    await fill(client, 2)
    await make(client)
    was_lost = False

    async def consume() -> None:
        nonlocal was_lost
        async with subscriber_of(client) as subscriber:
            async for batch in subscriber.batches():
                try:
                    await lose(client, batch)
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    was_lost = batch.is_lost
                    running.cancel()
                    raise

    running = start_soon(consume())
    with pytest.raises(asyncio.CancelledError):
        await within(running)
    assert was_lost


async def test_acknowledgements_go_with_the_next_lease(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """14. A request for each lease, one for the last, and nothing else."""
    # On a busy machine the next one may be asked for later than that, and they go alone.
    monkeypatch.setattr(lease_keeper, "_FINISHED_S", 30.0)
    await fill(client, 500)
    await make(client)
    sent: list[str] = []

    async def handle(_: Delivery) -> None:
        """Handle it."""

    async with subscriber_of(client, ack_within_s=30) as subscriber:
        calls = subscriber._calls
        for name in ("lease", "settle"):
            _count(calls, name, sent)
        await within(subscriber.run(handle, until_caught_up=True))
    # The last lease finds nothing, and has carried the last acknowledgements.
    assert sent == ["lease"] * 6
    assert counts(await look(client)) == [500, 0, 0, 0]


def _count(calls: object, name: str, sent: list[str]) -> None:
    usual = getattr(calls, name)

    async def counted(*arguments: object) -> object:
        sent.append(name)
        return await usual(*arguments)

    setattr(calls, name, counted)


async def test_an_acknowledgement_does_not_wait_longer_than_it_may(
    client: Client, start_soon: StartSoon
) -> None:
    """14. Though its lease has more, and nobody asks for another."""
    await fill(client, 2)
    await make(client, order="none")
    go_on = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        if delivery.offset == 2:
            await go_on.wait()

    async with subscriber_of(client, ack_within_s=0.01, max_events=2) as subscriber:
        running = start_soon(subscriber.run(handle, until_caught_up=True))
        await until_leased(client, [1, 0, 1, 0])
        go_on.set()
        await within(running)


async def test_what_is_held_is_bounded(client: Client, start_soon: StartSoon) -> None:
    """15."""
    await fill(client, 500)
    await make(client, order="none")
    go_on = asyncio.Event()
    begun: list[int] = []

    async def handle(delivery: Delivery) -> None:
        begun.append(delivery.offset)
        await go_on.wait()

    async with subscriber_of(client, max_events=20) as subscriber:
        running = start_soon(subscriber.run(handle, concurrency=1000, until_caught_up=True))
        await until(lambda: len(begun) == 40)
        for _ in range(10):
            await asyncio.sleep(0)
        assert counts(await look(client))[2] == 40
        go_on.set()
        await within(running)
    assert sorted(begun) == list(range(1, 501))


async def test_two_subscribers_share_a_subscription(client: Client) -> None:
    """1., 3. And what one has released goes to the other."""
    await fill(client, 300)
    await make(client, order="none")
    records = [Record(), Record()]

    async def consume(record: Record) -> None:
        async with subscriber_of(client, max_events=10) as subscriber:
            await subscriber.run(record.handler(), concurrency=2, until_caught_up=True)

    await within(asyncio.gather(*map(consume, records)))
    both = [offset for record in records for offset in record.offsets()]
    assert sorted(both) == list(range(1, 301))
    assert all(record.offsets() for record in records)


async def test_what_somebody_else_holds_is_waited_for(
    client: Client, start_soon: StartSoon
) -> None:
    """17. Nothing is handed out, and something is leased."""
    await fill(client, 2)
    await make(client)
    held = await lease(client)
    record = Record()
    async with subscriber_of(client) as subscriber:
        running = start_soon(subscriber.run(record.handler(), until_caught_up=True))
        await until(lambda: subscriber._intake is not None and subscriber._intake._found_nothing)
        assert not running.done()
        await ack_all(client, held)
        await within(running)
    assert record.handled == []
