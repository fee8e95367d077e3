"""Batches: handled in halves where they fail, and loops over them.

The numbers are those of docs/use/subscriber.md.
"""

import asyncio
from collections import Counter

import pytest
from support.http import Client
from support.library import subscriber_of, within
from support.subscribing import counts, deliveries_of, fill, lease, look, make, offsets_of
from support.talking import get_json

from subscriber import Batch


async def test_batches_have_what_is_there_and_each_is_acknowledged(client: Client) -> None:
    """9."""
    await fill(client, 250)
    await make(client)
    batches: list[list[int]] = []

    async def handle(batch: Batch) -> None:
        assert [each.offset for each in batch] == [event.offset for event in batch.events]
        assert batch[0].event == batch.events[0]
        assert [each.offset for each in batch[:2]] == [each.offset for each in batch][:2]
        batches.append([event.offset for event in batch.events])

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run_batches(handle, 60, until_caught_up=True))
    assert [offset for batch in batches for offset in batch] == list(range(1, 251))
    assert max(map(len, batches)) == 60
    assert counts(await look(client)) == [250, 0, 0, 0]


async def test_batches_at_once_share_no_topic(client: Client) -> None:
    """9."""
    topics = ["a", "b", "c", "d"]
    await fill(client, 20, *topics)
    await make(client, *topics)
    running: Counter[str] = Counter()
    together = asyncio.Barrier(2)
    seen: list[tuple[str, int]] = []

    async def handle(batch: Batch) -> None:
        named = {each.topic for each in batch}
        running.update(named)
        assert max(running.values()) == 1
        if len(seen) == 0:
            await together.wait()
        seen.extend((each.topic, each.offset) for each in batch)
        running.subtract(named)

    async with subscriber_of(client, max_events=40) as subscriber:
        await within(subscriber.run_batches(handle, 20, concurrency=2, until_caught_up=True))
    for topic in topics:
        assert [offset for name, offset in seen if name == topic] == list(range(1, 21))


@pytest.mark.parametrize("order", ["topic", "none"])
async def test_one_poison_event_takes_no_other_with_it(client: Client, order: str) -> None:
    """10. Each call is one transaction: it fails before it has done anything."""
    await fill(client, 100)
    await make(client, order=order, backoff_ms=[0], max_deliveries=3)
    effects: Counter[int] = Counter()
    alone = 0

    async def handle(batch: Batch) -> None:
        nonlocal alone
        offsets = [event.offset for event in batch.events]
        if 57 in offsets:
            alone += offsets == [57]
            raise ValueError("poison")
        effects.update(offsets)

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run_batches(handle, 100, until_caught_up=True))
    assert effects == Counter(set(range(1, 101)) - {57})
    (letter,) = await get_json(client, "/subscriptions/billing/dead")
    assert (letter["offset"], letter["deliveries"]) == (57, 3)
    assert letter["first_error"] == letter["last_error"] == "ValueError: poison"
    assert alone == 3
    seen = await look(client)
    # No other event was delivered a second time.
    assert (counts(seen), seen["redelivered"]) == ([99, 1, 0, 0], 2)


async def test_halves_keep_the_order_of_a_topic(client: Client) -> None:
    """2., 10."""
    await fill(client, 64)
    await make(client, backoff_ms=[0])
    done: list[int] = []
    failed: set[int] = set()

    async def handle(batch: Batch) -> None:
        offsets = [event.offset for event in batch.events]
        for offset in offsets:
            if offset % 9 == 0 and offset not in failed:
                failed.update(offsets if len(offsets) == 1 else ())
                raise ValueError("the first time")
        done.extend(offsets)

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run_batches(handle, 64, until_caught_up=True))
    assert done == list(range(1, 65))


async def test_what_a_handler_has_settled_is_not_in_the_halves(client: Client) -> None:
    """7., 10."""
    await fill(client, 8)
    await make(client, order="none", backoff_ms=[0])
    calls: list[list[int]] = []

    async def handle(batch: Batch) -> None:
        calls.append([each.offset for each in batch])
        if len(calls) == 1:
            await batch[2].dead("never")
            await batch[:2].ack()
            raise ValueError("the rest")

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run_batches(handle, until_caught_up=True))
    assert calls == [list(range(1, 9)), [4, 5], [6, 7, 8]]
    assert counts(await look(client)) == [7, 1, 0, 0]


async def test_a_batch_settles_what_is_left_of_it(client: Client) -> None:
    """9."""
    await fill(client, 6)
    await make(client, order="none")
    seen: list[list[int]] = []

    async def handle(batch: Batch) -> None:
        await batch[0].ack()
        await batch[1].dead()
        await batch.ack()
        seen.append(counts(await look(client)))
        # Nothing of it is left to be settled.
        await batch.retry()

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run_batches(handle, until_caught_up=True))
    assert seen == [[5, 1, 0, 0]]


async def test_behind_a_retry_nothing_of_a_topic_is_acknowledged(client: Client) -> None:
    """8. What was acknowledged before goes ahead in a request of its own."""
    await fill(client, 9)
    await make(client, backoff_ms=[0])
    handled: list[list[int]] = []

    async def handle(batch: Batch) -> None:
        handled.append([each.offset for each in batch])
        if len(handled) == 1:
            ahead = asyncio.create_task(batch[6].ack())
            # It begins, and is not sent yet.
            await asyncio.sleep(0)
            await batch[3].retry()
            await ahead
            await batch[4].ack()  # handed back by now, which is no mistake of the handler

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run_batches(handle, until_caught_up=True))
    assert handled == [list(range(1, 10)), [4, 5, 6, 8, 9]]
    assert counts(await look(client)) == [9, 0, 0, 0]


async def test_a_loop_acknowledges_a_batch_when_the_next_is_asked_for(client: Client) -> None:
    """11."""
    await fill(client, 30)
    await make(client)
    async with subscriber_of(client, ack_within_s=0) as subscriber:
        before = 0
        async for batch in subscriber.batches(10):
            seen = counts(await look(client))
            assert seen[2] >= 10
            assert seen[0] <= before
            before += len(batch)
            if before == 30:
                subscriber.stop()
    assert counts(await look(client)) == [30, 0, 0, 0]


async def poison_a_loop(client: Client, offsets: list[int]) -> None:
    """Have an exception leave a loop over batches, whose first one has these offsets."""

    async def consume() -> None:
        async with subscriber_of(client) as subscriber:
            async for batch in subscriber.batches(10):
                assert [each.offset for each in batch] == offsets
                raise ValueError("poison")

    with pytest.raises(ValueError, match="poison"):
        await consume()


async def test_an_exception_retries_the_batch_of_a_loop_and_then_each_comes_alone(
    client: Client,
) -> None:
    """11."""
    await fill(client, 12)
    await make(client, order="none", backoff_ms=[0])
    await poison_a_loop(client, list(range(1, 11)))
    seen = await look(client)
    assert counts(seen) == [0, 0, 0, 12]
    sizes: list[list[int]] = []
    async with subscriber_of(client) as subscriber:
        async for batch in subscriber.batches(10):
            sizes.append([each.offset for each in batch])
            if sum(map(len, sizes)) == 12:
                subscriber.stop()
    assert sorted(sizes) == [*([offset] for offset in range(1, 11)), [11, 12]]


async def test_a_batch_with_an_order_retries_the_first_and_releases_the_rest(
    client: Client,
) -> None:
    """8., 11."""
    await fill(client, 5)
    await make(client, backoff_ms=[0])
    await poison_a_loop(client, list(range(1, 6)))
    again = await lease(client)
    assert offsets_of(again) == [1, 2, 3, 4, 5]
    assert deliveries_of(again) == [2, 1, 1, 1, 1]


async def test_more_events_than_a_lease_of_the_subscriber_make_a_batch(client: Client) -> None:
    """9."""
    await fill(client, 1500)
    await make(client)
    sizes: list[int] = []

    async def handle(batch: Batch) -> None:
        sizes.append(len(batch))

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run_batches(handle, 1000, until_caught_up=True))
    assert sizes == [1000, 500]
