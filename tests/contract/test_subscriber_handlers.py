"""`Subscriber.run`: what is given to handlers, in which order, and what becomes of it.

The numbers are those of docs/use/subscriber.md.
"""

import asyncio
import logging
from typing import Any

import pytest
from support.http import Client
from support.library import Record, subscriber_of, within
from support.load import until
from support.subscribing import counts, fill, lease, look, make, offsets_of
from support.talking import get_json
from support.tasks import StartSoon

from subscriber import AlreadySettled, Delivery, HandlerFailed, HandlerUnavailable


async def test_every_event_is_handled_and_acknowledged(client: Client) -> None:
    """1."""
    await fill(client, 250)
    await make(client)
    record = Record()
    async with subscriber_of(client) as subscriber:
        await within(subscriber.run(record.handler(), until_caught_up=True))
    assert record.offsets() == list(range(1, 251))
    assert counts(await look(client)) == [250, 0, 0, 0]


async def test_nothing_is_acknowledged_while_it_is_handled(
    client: Client, start_soon: StartSoon
) -> None:
    """1."""
    await fill(client, 3)
    await make(client)
    begun, go_on = asyncio.Queue[int](), asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        if delivery.offset == 1:
            await delivery.ack()
        begun.put_nowait(delivery.offset)
        if delivery.offset == 2:
            await go_on.wait()

    async with subscriber_of(client, ack_within_s=0) as subscriber:
        running = start_soon(subscriber.run(handle, until_caught_up=True))
        assert [await within(begun.get()), await within(begun.get())] == [1, 2]
        assert counts(await look(client)) == [1, 0, 2, 0]
        go_on.set()
        await within(running)


@pytest.mark.parametrize(("order", "at_once"), [("topic", 3), ("none", 4)])
async def test_concurrency_by_the_order_of_the_subscription(
    client: Client, order: str, at_once: int
) -> None:
    """2., 3."""
    topics = ["orders", "payments", "refunds"]
    await fill(client, 40, *topics)
    await make(client, *topics, order=order)
    record, together = Record(), asyncio.Barrier(at_once)

    async def handle(delivery: Delivery) -> None:
        if len(record.handled) <= at_once:
            await together.wait()

    async with subscriber_of(client, max_events=50) as subscriber:
        await within(subscriber.run(record.handler(handle), concurrency=4, until_caught_up=True))
    assert record.most == at_once
    assert record.most_of_a_topic == (1 if order == "topic" else 4)
    for topic in topics:
        handled = record.offsets(topic)
        assert sorted(handled) == list(range(1, 41))
        if order == "topic":
            assert handled == sorted(handled)


async def test_an_exception_retries_the_delivery_with_its_text(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """4., and order is kept over it."""
    await fill(client, 10)
    await make(client, backoff_ms=[0])
    record = Record()

    async def fail_twice(delivery: Delivery) -> None:
        if delivery.offset == 4 and delivery.delivery < 3:
            raise ValueError("no such customer")

    async with subscriber_of(client) as subscriber:
        with caplog.at_level(logging.WARNING, "subscriber"):
            await within(subscriber.run(record.handler(fail_twice), until_caught_up=True))
    assert record.offsets() == [1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 9, 10]
    messages = [each.getMessage() for each in caplog.records]
    assert messages == [
        f"delivery {number} of orders/4 failed: ValueError: no such customer" for number in (1, 2)
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such customer"), "ValueError: no such customer"),
        (ValueError(), "ValueError"),
        (HandlerFailed("exit status 3: no such customer"), "exit status 3: no such customer"),
        (ValueError("\ud800\0" + "x" * 5000), f"ValueError: \ufffd\ufffd{'x' * 3986}"),
    ],
    ids=["text", "none", "own", "hostile"],
)
async def test_the_error_of_a_dead_letter_is_the_text_of_the_exception(
    client: Client, error: Exception, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """4."""
    # The runner of tests can't pass half a character on.
    caplog.set_level(logging.CRITICAL, "subscriber")
    await fill(client, 1)
    await make(client, max_deliveries=1)

    async def fail(delivery: Delivery) -> None:
        raise error

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run(fail, until_caught_up=True))
    (letter,) = await get_json(client, "/subscriptions/billing/dead")
    assert letter["last_error"] == text


async def test_a_cancelled_handler_releases(client: Client, start_soon: StartSoon) -> None:
    """6."""
    await fill(client, 3)
    await make(client)
    record = Record()

    async def handle(delivery: Delivery) -> None:
        if delivery.offset == 2:
            raise asyncio.CancelledError

    async with subscriber_of(client) as subscriber:
        running = start_soon(subscriber.run(record.handler(handle)))
        await until(lambda: record.offsets().count(2) >= 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    again = await lease(client, wait_ms=20_000)
    assert offsets_of(again) == [2, 3]
    assert [each["delivery"] for each in again["deliveries"]] == [1, 1]


async def test_a_handler_may_settle_by_itself(client: Client) -> None:
    """7."""
    await fill(client, 5)
    await make(client, order="none", backoff_ms=[0])
    answered: list[list[int]] = []

    async def handle(delivery: Delivery) -> None:
        if delivery.delivery > 1:
            return
        match delivery.offset:
            case 1:
                await delivery.ack()
            case 2:
                await delivery.retry(after=0, error="later")
            case 3:
                await delivery.dead("never")
            case 4:
                await delivery.release()
                # Once, or it would come for ever.
                subscriber.stop()
            case _:
                return
        answered.append(counts(await look(client)))

    async with subscriber_of(client, ack_within_s=30) as subscriber:
        await within(subscriber.run(handle))
    # Each was answered, so durable, when its method returned.
    assert [each[:2] for each in answered] == [[1, 0], [1, 0], [1, 1], [1, 1]]
    (letter,) = await get_json(client, "/subscriptions/billing/dead")
    assert (letter["offset"], letter["last_error"]) == (3, "never")
    again = await lease(client)
    assert sorted(offsets_of(again)) == [2, 4, 5]


async def test_a_delivery_is_settled_once(client: Client) -> None:
    """7."""
    await fill(client, 1)
    await make(client)
    sentences: list[str] = []

    async def handle(delivery: Delivery) -> None:
        await delivery.dead("never")
        for settle in (delivery.ack, delivery.retry, delivery.dead, delivery.release):
            with pytest.raises(AlreadySettled) as refused:
                await settle()
            sentences.append(str(refused.value))

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run(handle, until_caught_up=True))
    assert sentences == ["orders/1 is settled already: declared dead"] * 4
    assert counts(await look(client)) == [0, 1, 0, 0]


@pytest.mark.parametrize("how", ["retry", "release"])
async def test_what_is_behind_in_the_topic_is_handed_back_too(client: Client, how: str) -> None:
    """8."""
    await fill(client, 6)
    await make(client, backoff_ms=[0])
    record = Record()

    async def handle(delivery: Delivery) -> None:
        if delivery.offset == 3 and record.offsets().count(3) == 1:
            await (delivery.retry() if how == "retry" else delivery.release())

    async with subscriber_of(client) as subscriber:
        await within(subscriber.run(record.handler(handle), until_caught_up=True))
    assert record.offsets() == [1, 2, 3, 3, 4, 5, 6]
    seen = await look(client)
    assert (counts(seen), seen["redelivered"]) == ([6, 0, 0, 0], 1 if how == "retry" else 0)


async def test_a_handler_that_is_no_coroutine_function_is_told(client: Client) -> None:
    await fill(client, 2)
    await make(client)
    handled: list[int] = []

    def handle(delivery: Delivery) -> Any:
        handled.append(delivery.offset)

    async with subscriber_of(client) as subscriber:
        with pytest.raises(TypeError, match=r"must be a coroutine function \(async def\)"):
            await within(subscriber.run(handle))
    assert (handled, counts(await look(client))) == ([1], [0, 0, 0, 2])


@pytest.mark.parametrize("form", ["run", "run_batches", "loop"])
async def test_a_handler_that_can_do_nothing_now_ends_all_and_counts_no_delivery(
    client: Client, form: str
) -> None:
    """6."""
    await fill(client, 4)
    await make(client)

    async def handle(_: object) -> None:
        raise HandlerUnavailable("the database is away")

    async def consume() -> None:
        async with subscriber_of(client) as subscriber:
            if form == "run":
                await subscriber.run(handle)
            elif form == "run_batches":
                await subscriber.run_batches(handle)
            else:
                async for delivery in subscriber:
                    await handle(delivery)

    with pytest.raises(HandlerUnavailable, match="the database is away"):
        await within(consume())
    again = await lease(client)
    assert offsets_of(again) == [1, 2, 3, 4]
    assert {each["delivery"] for each in again["deliveries"]} == {1}
