"""Requests that fail: what is waited for, who is told of it, and when a subscriber gives up."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.library_calls import Trouble, Way
from support.library_scene import Scene
from support.library_time import until, virtual

from subscriber import (
    Delivery,
    LeaseLost,
    ReconnectPolicy,
    Subscriber,
    SubscriptionGaveUp,
    SubscriptionRefused,
)
from subscriber.calls.requests import CallFailed

NOT_DONE = Trouble(Way.NOT_DONE)
IMPATIENT = ReconnectPolicy(first_wait_s=0.1, max_wait_s=0.1, give_up_after_s=2.0)
FOR_EVER = [NOT_DONE] * 1000


async def handle_at_once(_: Delivery) -> None:
    """Handle a delivery."""


@virtual
async def test_waits_are_those_of_the_policy_and_begin_anew_with_each_row() -> None:
    scene = Scene(1)
    policy = ReconnectPolicy(first_wait_s=1.0, max_wait_s=4.0)
    scene.calls.trouble("settings", NOT_DONE)
    scene.calls.trouble("lease", NOT_DONE, NOT_DONE, NOT_DONE, NOT_DONE)
    async with scene.subscriber(policy=policy) as subscriber:
        await subscriber.run(handle_at_once, until_caught_up=True)
    assert [wait.attempt for wait in scene.waits] == [1, 1, 2, 3, 4]
    for wait, least_s in zip(scene.waits, [1.0, 1.0, 2.0, 4.0, 4.0], strict=True):
        assert least_s <= wait.wait_s <= 1.5 * least_s


@virtual
async def test_wait_is_as_long_as_the_answer_asks_for() -> None:
    scene, begun_s = Scene(1), asyncio.get_running_loop().time()
    scene.calls.trouble("lease", Trouble(Way.NOT_DONE, error=CallFailed("503 busy", 60.0)))
    async with scene.subscriber() as subscriber:
        await subscriber.run(handle_at_once, until_caught_up=True)
    assert [wait.reason for wait in scene.waits] == ["503 busy"]
    assert asyncio.get_running_loop().time() - begun_s >= 60.0


@virtual
async def test_log_has_a_warning_for_the_first_failure_of_a_row(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene(1)
    scene.calls.trouble("lease", NOT_DONE, NOT_DONE, NOT_DONE)
    scene.calls.trouble("carry", NOT_DONE, NOT_DONE)
    with caplog.at_level(logging.WARNING, "subscriber"):
        async with scene.subscriber(on_wait=None, ack_within_s=5) as subscriber:
            await subscriber.run(handle_at_once, until_caught_up=True)
    sentence = "the request was lost; trying again until there is an answer"
    assert [each.getMessage() for each in caplog.records] == [sentence] * 2


@virtual
async def test_row_counts_the_failures_of_all_requests() -> None:
    """A settle and a request for a lease that fail at the same time are one outage."""
    scene = Scene(8, order="none")
    scene.calls.trouble("settle", *[NOT_DONE] * 3)
    scene.calls.trouble("carry", *[NOT_DONE] * 3)
    scene.calls.trouble("lease", Trouble(), *[NOT_DONE] * 3)
    async with scene.subscriber(max_events=2, ack_within_s=0) as subscriber:
        await subscriber.run(handle_at_once, concurrency=2, until_caught_up=True)
    attempts = [wait.attempt for wait in scene.waits]
    assert attempts == list(range(1, len(attempts) + 1))
    assert len(attempts) > 3


async def run(subscriber: Subscriber, handler: Any) -> None:
    """Consume with `run`."""
    await subscriber.run(handler, concurrency=2)


async def run_batches(subscriber: Subscriber, handler: Any) -> None:
    """Consume with `run_batches`."""
    await subscriber.run_batches(lambda batch: handler(batch[0]), 1, concurrency=2)


async def loop(subscriber: Subscriber, handler: Any) -> None:
    """Consume with a loop."""
    async for delivery in subscriber:
        await handler(delivery)


Consume = Callable[[Subscriber, Any], Awaitable[None]]


@pytest.mark.parametrize("consume", [run, run_batches, loop])
@pytest.mark.parametrize("order", ["none"])
@virtual
async def test_giving_up_ends_everything_and_who_waits_for_a_settle(
    consume: Consume, order: str
) -> None:
    """The aggregator is back at once, but nothing that was handled is told to it any more."""
    scene, raised, begun = Scene(40, order=order), list[BaseException](), list[int]()
    scene.calls.trouble("settle", *FOR_EVER)
    scene.calls.trouble("carry", *FOR_EVER)

    async def handle(delivery: Delivery) -> None:
        begun.append(delivery.offset)
        try:
            await delivery.ack()
        except (LeaseLost, asyncio.CancelledError) as error:
            raised.append(error)
            raise

    async def consumed() -> None:
        async with scene.subscriber(policy=IMPATIENT, max_events=4) as subscriber:
            await consume(subscriber, handle)

    with pytest.raises(SubscriptionGaveUp, match=r"gave up after .* tries"):
        await asyncio.create_task(consumed())
    assert raised
    assert len(begun) <= 2
    assert scene.counts[:2] == [0, 0]


@virtual
async def test_nothing_is_begun_once_it_gave_up_while_leases_still_come() -> None:
    """The request for a lease gets through; it would be handled and never acknowledged."""
    scene, begun = Scene(40, order="none"), list[int]()
    scene.calls.trouble("settle", *FOR_EVER)
    scene.calls.trouble("lease", Trouble(), Trouble(before_s=3.0))

    async def handle(delivery: Delivery) -> None:
        begun.append(delivery.offset)
        await asyncio.sleep(0.5)

    async with scene.subscriber(policy=IMPATIENT, max_events=2, ack_within_s=0) as subscriber:
        with pytest.raises(SubscriptionGaveUp):
            await subscriber.run(handle)
        await asyncio.sleep(20.0)
    assert begun == [1, 2]
    leases = scene.calls.of("lease")
    assert len(leases) == 2


@virtual
async def test_refused_settle_ends_everything() -> None:
    """Handlers that have something open are cancelled: it can't be settled."""
    scene, was_cancelled = Scene(2, order="none"), list[int]()

    async def handle(delivery: Delivery) -> None:
        if delivery.offset == 1:
            await until(lambda: scene.counts[2] == 2)
            scene.aggregator.delete("billing")
            with pytest.raises(LeaseLost):
                await delivery.ack()
            return
        try:
            await asyncio.sleep(1000.0)
        except asyncio.CancelledError:
            was_cancelled.append(delivery.offset)
            raise

    async with scene.subscriber() as subscriber:
        with pytest.raises(SubscriptionRefused, match="no subscription 'billing'"):
            await subscriber.run(handle, concurrency=2)
    assert was_cancelled == [2]


@virtual
async def test_loop_whose_body_is_cancelled_since_it_is_refused_is_told_why() -> None:
    scene = Scene(2)

    async def consume() -> None:
        async with scene.subscriber(ack_within_s=0) as subscriber:
            async for batch in subscriber.batches():
                scene.aggregator.delete("billing")
                settling = asyncio.gather(batch[0].ack(), return_exceptions=True)
                await asyncio.sleep(1000.0)
                await settling

    with pytest.raises(SubscriptionRefused, match="no subscription 'billing'"):
        await consume()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@virtual
async def test_what_is_refused_as_the_context_is_left_is_raised() -> None:
    """Whichever task has sent it."""
    scene = Scene(1)

    async def be_refused() -> None:
        async with scene.subscriber(ack_within_s=5) as subscriber:
            async for _ in subscriber:
                scene.aggregator.delete("billing")
                subscriber.stop()

    with pytest.raises(SubscriptionRefused, match="no subscription 'billing'"):
        await be_refused()
    scene = Scene(1)
    scene.calls.trouble("settle", *FOR_EVER)

    async def give_up() -> None:
        async with scene.subscriber(policy=IMPATIENT, ack_within_s=0) as subscriber:
            async for _ in subscriber:
                subscriber.stop()

    with pytest.raises(SubscriptionGaveUp):
        await give_up()


@virtual
async def test_error_of_on_wait_ends_consuming() -> None:
    scene = Scene(1)
    scene.calls.trouble("lease", NOT_DONE)

    def refuse(_: object) -> None:
        raise ZeroDivisionError

    async with scene.subscriber(on_wait=refuse) as subscriber:
        with pytest.raises(ZeroDivisionError):
            await subscriber.run(handle_at_once)
