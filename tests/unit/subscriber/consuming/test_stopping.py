"""`stop` at every moment of a request, and what a request brings that was under way."""

import asyncio

import pytest
from support.library_calls import Sent, Trouble, TroubledCalls, Way
from support.library_scene import Scene
from support.library_time import turns, until, virtual

from subscriber import Delivery, Subscriber
from subscriber.calls.requests import CallFailed, Leased, Settle


async def handle_at_once(_: Delivery) -> None:
    """Handle a delivery."""


async def closed(subscriber: Subscriber, running: "asyncio.Task[None]") -> float:
    """Wait until a subscriber has ended; return how long that took, in seconds of virtual time."""
    begun_s = asyncio.get_running_loop().time()
    await running
    await subscriber.__aexit__(None, None, None)
    return asyncio.get_running_loop().time() - begun_s


class Uncancelled(TroubledCalls):
    """Calls whose requests for a lease end as they would, although they are cancelled."""

    async def lease(
        self, name: str, consumer: str, max_events: int, wait_ms: int, settle: Settle | None
    ) -> Leased:
        asking = asyncio.ensure_future(super().lease(name, consumer, max_events, wait_ms, settle))
        while not asking.done():
            try:
                await asyncio.shield(asking)
            except asyncio.CancelledError:
                await asyncio.sleep(0)
        return asking.result()


@virtual
async def test_stop_before_anything_is_asked_for() -> None:
    scene = Scene(3)
    async with scene.subscriber() as subscriber:
        subscriber.stop()
        await subscriber.run(handle_at_once)
        async for _ in subscriber:
            raise AssertionError
        await asyncio.sleep(5.0)
    assert [each.kind for each in scene.calls.sent] == ["settings"]


@virtual
async def test_stop_as_the_first_lease_is_asked_for() -> None:
    scene = Scene(3)
    async with scene.subscriber() as subscriber:
        running = asyncio.create_task(subscriber.run(handle_at_once))
        await turns(1)
        subscriber.stop()
        await running
    assert scene.counts == [0, 0, 0, 3]


@pytest.mark.parametrize("count", range(1, 12))
@virtual
async def test_stop_in_any_turn_acknowledges_what_was_handled_and_releases_the_rest(
    count: int,
) -> None:
    scene, handled = Scene(6), list[int]()

    async def handle(delivery: Delivery) -> None:
        await asyncio.sleep(0)
        handled.append(delivery.offset)

    async with scene.subscriber(max_events=3) as subscriber:
        running = asyncio.create_task(subscriber.run(handle))
        await turns(count)
        subscriber.stop()
        begun = len(handled)
        await running
    assert len(handled) <= begun + 2
    assert scene.counts == [len(handled), 0, 0, 6 - len(handled)]
    again = await scene.aggregator.calls().lease("billing", "other", 10, 0, None)
    assert {each.delivery for each in again.deliveries} <= {1}


@virtual
async def test_stop_ends_a_request_that_waits() -> None:
    scene = Scene(0)
    subscriber = await scene.subscriber().__aenter__()
    running = asyncio.create_task(subscriber.run(handle_at_once))
    await until(lambda: scene.calls.of("lease"))
    await asyncio.sleep(3.0)
    subscriber.stop()
    assert await closed(subscriber, running) == 0.0
    assert not scene.calls.of("lease")[-1].is_told


@virtual
async def test_stop_ends_the_wait_before_the_next_attempt() -> None:
    scene = Scene(1)
    busy = Trouble(Way.NOT_DONE, error=CallFailed("503 busy", 60.0))
    scene.calls.trouble("lease", busy)
    subscriber = await scene.subscriber().__aenter__()
    running = asyncio.create_task(subscriber.run(handle_at_once))
    await until(lambda: scene.waits)
    subscriber.stop()
    assert await closed(subscriber, running) == 0.0
    assert len(scene.calls.of("lease")) == 1


async def until_carried(scene: Scene, trouble: Trouble) -> tuple[Subscriber, "asyncio.Task[None]"]:
    """A subscriber whose first event is handled, and whose next request carries that."""
    scene.calls.trouble("carry", trouble)
    subscriber = await scene.subscriber(max_events=1, ack_within_s=5.0).__aenter__()
    running = asyncio.create_task(subscriber.run(handle_at_once))
    await until(lambda: scene.calls.of("carry"))
    subscriber.stop()
    await turns(5)
    return subscriber, running


@virtual
async def test_lease_that_a_settle_brings_after_a_stop_is_released() -> None:
    """It is not cancelled: what it carries is to be told."""
    scene, gate = Scene(3), asyncio.Event()
    subscriber, running = await until_carried(scene, Trouble(before=gate))
    gate.set()
    assert await closed(subscriber, running) < 1.0
    (carry,) = scene.calls.of("carry")
    assert len(carry.answer.deliveries) == 1
    assert scene.counts == [1, 0, 0, 2]
    again = await scene.aggregator.calls().lease("billing", "other", 10, 0, None)
    assert [each.delivery for each in again.deliveries] == [1, 1]


@virtual
async def test_nothing_is_waited_for_after_a_stop_where_a_settle_has_brought_nothing() -> None:
    scene, gate = Scene(1), asyncio.Event()
    subscriber, running = await until_carried(scene, Trouble(before=gate))
    gate.set()
    assert await closed(subscriber, running) < 1.0
    assert [each.kind for each in scene.calls.sent] == ["settings", "lease", "carry"]
    assert scene.counts == [1, 0, 0, 0]


@virtual
async def test_settle_that_was_under_way_at_a_stop_and_fails_is_asked_for_again_at_once() -> None:
    """The wait that its answer asks for would take all the time that there is for closing."""
    scene, gate = Scene(1), asyncio.Event()
    busy = Trouble(Way.NOT_DONE, before=gate, error=CallFailed("503 busy", 60.0))
    subscriber, running = await until_carried(scene, busy)
    gate.set()
    assert await closed(subscriber, running) < 1.0
    first, again = scene.calls.settles
    assert first == again
    assert scene.counts == [1, 0, 0, 0]


@virtual
async def test_lease_that_comes_although_its_request_was_cancelled_is_released() -> None:
    """It had come already, when the waiting for it ended."""
    scene, gate = Scene(3), asyncio.Event()
    calls = Uncancelled(scene.aggregator)
    calls.trouble("lease", Trouble(before=gate))
    subscriber = await scene.subscriber(calls=calls).__aenter__()
    running = asyncio.create_task(subscriber.run(handle_at_once))
    await until(lambda: calls.of("lease"))
    subscriber.stop()
    await turns(5)
    gate.set()
    assert await closed(subscriber, running) < 1.0
    sent: list[Sent] = calls.of("lease", "settle")
    assert [each.kind for each in sent] == ["lease", "settle"]
    assert sent[1].settle == Settle(sent[0].answer.lease, [], [], [], [("orders", 1, 3)])
    assert scene.counts == [0, 0, 0, 3]
    again = await scene.aggregator.calls().lease("billing", "other", 10, 0, None)
    assert [each.delivery for each in again.deliveries] == [1, 1, 1]


@virtual
async def test_stop_a_second_time_changes_nothing() -> None:
    scene, begun, go_on = Scene(3), asyncio.Event(), asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        begun.set()
        await go_on.wait()

    async with scene.subscriber() as subscriber:
        running = asyncio.create_task(subscriber.run(handle))
        await begun.wait()
        subscriber.stop()
        subscriber.stop()
        await until(lambda: scene.counts == [0, 0, 1, 2])
        go_on.set()
        await running
    subscriber.stop()
    assert scene.counts == [1, 0, 0, 2]
