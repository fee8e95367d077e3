"""Leaving the context of a subscriber: what is told, for how long, and what is left."""

import asyncio

import pytest
from support.library_calls import Trouble, TroubledCalls, Way
from support.library_scene import Scene
from support.library_time import turns, until, virtual

from subscriber import Delivery, LeaseLost
from subscriber.calls.requests import Leased, Settle

HANGS = Trouble(before_s=10_000.0)


class SlowToCancel(TroubledCalls):
    """Calls whose requests for a lease take a second to be cancelled."""

    async def lease(
        self, name: str, consumer: str, max_events: int, wait_ms: int, settle: Settle | None
    ) -> Leased:
        try:
            return await super().lease(name, consumer, max_events, wait_ms, settle)
        except asyncio.CancelledError:
            await asyncio.sleep(1.0)
            raise


async def acknowledge(delivery: Delivery, results: list[str]) -> None:
    """Acknowledge a delivery, and note what comes of it."""
    try:
        await delivery.ack()
    except LeaseLost:
        results.append("lost")
    else:
        results.append("acknowledged")


def passed_s() -> float:
    """Seconds of virtual time since the test began."""
    return asyncio.get_running_loop().time() - 1000.0


@virtual
async def test_what_is_due_is_told_and_the_rest_is_released() -> None:
    scene = Scene(10, order="none")
    async with scene.subscriber(ack_within_s=30.0) as subscriber:
        async for delivery in subscriber:
            if delivery.offset == 4:
                break
    settled = [(settle.ack, settle.release) for settle in scene.calls.settles]
    assert [each for ack, _ in settled for each in ack] == [("orders", 1, 3)]
    assert scene.counts == [3, 0, 0, 7]
    assert scene.aggregator.subscription("billing").redelivered == 0


@pytest.mark.parametrize("limit_s", [0.0, 0.5, 3.0])
@virtual
async def test_closing_has_a_limit_and_who_waits_for_a_settle_is_told(limit_s: float) -> None:
    scene, results = Scene(2), list[str]()
    scene.calls.trouble("settle", *[HANGS] * 100)
    async with scene.subscriber(close_timeout_s=limit_s) as subscriber:
        async for delivery in subscriber:
            settling = asyncio.create_task(acknowledge(delivery, results))
            break
        await until(lambda: scene.calls.settles)
        begun_s = passed_s()
    assert passed_s() - begun_s == limit_s
    await settling
    assert results == ["lost"]
    assert scene.counts == [0, 0, 2, 0]
    assert scene.calls.is_closed


@virtual
async def test_closing_has_a_limit_where_a_request_takes_time_to_be_cancelled() -> None:
    """The end of its waiting is not taken for the end of the limit."""
    scene = Scene(1)
    calls = SlowToCancel(scene.aggregator)
    calls.trouble("settle", *[HANGS] * 1000)
    go_on = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        await go_on.wait()

    async with scene.subscriber(calls=calls, close_timeout_s=0.5, ack_within_s=5.0) as subscriber:
        running = asyncio.create_task(subscriber.run(handle, concurrency=2))
        await until(lambda: len(calls.of("lease")) == 2)
        go_on.set()
        await turns(5)
        subscriber.stop()
        await running
        begun_s = passed_s()
    assert passed_s() - begun_s <= 1.0


@virtual
async def test_closing_ends_at_once_when_it_is_cancelled() -> None:
    """Also again, while its requests are cancelled: who waits for a settle is told."""
    scene, results = Scene(2), list[str]()
    calls = SlowToCancel(scene.aggregator)
    calls.trouble("settle", *[HANGS] * 100)
    calls.trouble("carry", *[HANGS] * 100)
    settling: list[asyncio.Task[None]] = []
    is_left = asyncio.Event()

    async def consume() -> None:
        async with scene.subscriber(calls=calls, ack_within_s=0.0) as subscriber:
            async for delivery in subscriber:
                settling.append(asyncio.create_task(acknowledge(delivery, results)))
                await until(lambda: calls.settles)
                break
            is_left.set()

    consuming = asyncio.create_task(consume())
    await is_left.wait()
    await asyncio.sleep(0.2)
    begun_s = passed_s()
    for _ in range(3):
        consuming.cancel()
        await turns(3)
    with pytest.raises(asyncio.CancelledError):
        await consuming
    await settling[0]
    assert results == ["lost"]
    assert passed_s() - begun_s <= 1.0
    # What ends in the background has ended.
    await asyncio.sleep(2.0)


@virtual
async def test_run_that_is_cancelled_a_second_time_does_not_wait_for_its_handlers() -> None:
    scene, ended = Scene(1), asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        try:
            await asyncio.sleep(1000.0)
        except asyncio.CancelledError:
            await ended.wait()
            raise

    async with scene.subscriber(close_timeout_s=1.0) as subscriber:
        running = asyncio.create_task(subscriber.run(handle))
        await until(lambda: scene.counts[2] == 1)
        for _ in range(2):
            await turns(5)
            running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    ended.set()
    await turns(5)
    assert scene.counts == [0, 0, 1, 0]


@virtual
async def test_handlers_that_run_on_while_the_context_is_left_lose_their_leases() -> None:
    scene, results = Scene(2), list[str]()

    async def handle(delivery: Delivery) -> None:
        try:
            await asyncio.sleep(1000.0)
        except asyncio.CancelledError:
            assert delivery.is_lost
            await acknowledge(delivery, results)
            raise

    async with scene.subscriber() as subscriber:
        running = asyncio.create_task(subscriber.run(handle))
        await until(lambda: scene.counts[2] == 2)
        await turns(5)
    await running
    assert results == ["lost"]
    # The other one was not begun.
    assert scene.counts == [0, 0, 1, 1]


@virtual
async def test_settle_after_the_context_was_left_is_lost() -> None:
    scene, kept, results = Scene(1), list[Delivery](), list[str]()
    async with scene.subscriber(close_timeout_s=0.0) as subscriber:
        scene.calls.trouble("settle", HANGS)
        async for delivery in subscriber:
            kept.append(delivery)
            break
    for _ in range(2):
        await acknowledge(kept[0], results)
    assert results == ["lost"] * 2


@virtual
async def test_subscriber_that_is_cancelled_as_it_is_entered_closes_its_calls() -> None:
    scene = Scene(1)
    scene.calls.trouble("settings", Trouble(Way.ANSWERED, before_s=10.0))
    entering = asyncio.create_task(scene.subscriber().__aenter__())
    await turns(3)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert scene.calls.is_closed


@virtual
async def test_tasks_that_are_all_cancelled_end_without_complaint() -> None:
    """As some programs do at a signal; also before they have begun."""
    scene = Scene(2)

    async def consume() -> None:
        async with scene.subscriber() as subscriber:
            for task in asyncio.all_tasks() - {asyncio.current_task(), main}:
                task.cancel()
            await subscriber.run(handle_for_long)

    async def handle_for_long(delivery: Delivery) -> None:
        await asyncio.sleep(1000.0)

    main = asyncio.current_task()
    consuming = asyncio.create_task(consume())
    await turns(20)
    consuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consuming
