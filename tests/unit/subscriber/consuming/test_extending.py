"""Leases that are extended, and those that run out by the clock here."""

import asyncio

from support.library_calls import FINE, Trouble, Way
from support.library_scene import Scene
from support.library_time import until, virtual

from subscriber import Batch, Delivery, LeaseLost

HANGS = Trouble(before_s=10_000.0)


def extensions(scene: Scene) -> list[float]:
    """When settles were sent that do nothing but extend, in seconds of virtual time."""
    return [
        each.begun_s - 1000.0
        for each in scene.calls.of("settle")
        if each.settle is not None and each.settle.extend_ms and not any(each.settle[1:5])
    ]


@virtual
async def test_lease_is_extended_alone_when_half_of_its_time_has_passed() -> None:
    scene = Scene(2, lease_ms=10_000)

    async def handle(delivery: Delivery) -> None:
        await asyncio.sleep(13.0)

    async with scene.subscriber() as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    # The second handler ends at 26; each extension lasts from when it was asked for.
    assert extensions(scene) == [5.0, 10.0, 15.0, 20.0, 25.0]
    assert {settle.extend_ms for settle in scene.calls.settles} == {10_000, None}
    assert scene.counts == [2, 0, 0, 0]


@virtual
async def test_extension_counts_from_when_it_was_asked_for() -> None:
    """Not from its answer: it would run out later here than at the aggregator."""
    scene = Scene(1, lease_ms=9000)
    scene.calls.trouble("settle", FINE._replace(after_s=2.0))

    async def handle(delivery: Delivery) -> None:
        await asyncio.sleep(10.0)

    async with scene.subscriber() as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert extensions(scene) == [4.5, 9.0]


@virtual
async def test_settle_carries_no_extension_before_it_is_due() -> None:
    scene = Scene(3, order="none", lease_ms=10_000)

    async def handle(delivery: Delivery) -> None:
        await asyncio.sleep(2.0 * delivery.offset)
        await delivery.ack()

    async with scene.subscriber() as subscriber:
        await subscriber.run(handle, concurrency=3, until_caught_up=True)
    # At 2 s and at 4 s it is not due; at 5 s it goes alone, and at 6 s nothing is left.
    assert [settle.extend_ms for settle in scene.calls.settles] == [None, None, 10_000, None]
    assert extensions(scene) == [5.0]


@virtual
async def test_lease_that_another_request_has_settled_meanwhile_is_not_extended() -> None:
    """The keeper waits for its turn with a lease of which nothing is left to be told."""
    scene, gate = Scene(2, order="none"), asyncio.Event()
    scene.calls.trouble("carry", Trouble(before=gate))

    async def handle(delivery: Delivery) -> None:
        if delivery.offset == 2:
            await asyncio.sleep(8.0)

    async with scene.subscriber(ack_within_s=3.0) as subscriber:
        running = asyncio.create_task(subscriber.run(handle, concurrency=2, until_caught_up=True))
        await until(lambda: scene.calls.of("carry"))
        await asyncio.sleep(5.0)
        gate.set()
        await running
    assert extensions(scene) == []
    assert scene.counts == [2, 0, 0, 0]


@virtual
async def test_extension_that_hangs_is_tried_again_in_time() -> None:
    scene = Scene(1, lease_ms=9000)
    scene.calls.trouble("settle", HANGS)

    async def handle(delivery: Delivery) -> None:
        await asyncio.sleep(12.0)

    async with scene.subscriber() as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    first, second = extensions(scene)[:2]
    # A third of the lease is left for the second attempt.
    assert (first, 7.5 < second < 9.0) == (4.5, True)
    assert [wait.reason for wait in scene.waits] == ["no answer to a settle in time"]
    assert scene.aggregator.subscription("billing").redelivered == 0


@virtual
async def test_lease_that_is_not_extended_in_time_is_lost() -> None:
    """The aggregator hangs: handlers are cancelled when the time has passed here."""
    scene, lost = Scene(2, lease_ms=6000), list[tuple[int, float, bool]]()
    loop = asyncio.get_running_loop()

    async def handle(delivery: Delivery) -> None:
        if delivery.delivery > 1:
            return
        scene.calls.trouble("settle", *[HANGS] * 4)
        try:
            await asyncio.sleep(1000.0)
        except asyncio.CancelledError:
            lost.append((delivery.offset, loop.time() - 1000.0, delivery.is_lost))
            raise

    async with scene.subscriber() as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert lost[0] == (1, 6.0, True)
    assert scene.counts == [2, 0, 0, 0]


@virtual
async def test_lost_lease_drops_what_was_not_begun() -> None:
    scene, begun = Scene(3, lease_ms=2000), list[tuple[int, int]]()

    async def handle(delivery: Delivery) -> None:
        begun.append((delivery.offset, delivery.delivery))
        if len(begun) == 1:
            scene.aggregator.lose_leases("billing")
            await asyncio.sleep(1000.0)

    async with scene.subscriber() as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert begun == [(1, 1), (1, 2), (2, 2), (3, 2)]
    # It was noticed by the extension.
    assert extensions(scene)[0] == 1.0


@virtual
async def test_event_that_comes_after_a_wait_longer_than_its_lease_is_handled() -> None:
    """Its lease was given while it was waited for, not when it was asked for."""
    scene, begun = Scene(0, lease_ms=1000), list[tuple[int, int]]()

    async def handle(delivery: Delivery) -> None:
        begun.append((delivery.offset, delivery.delivery))
        await asyncio.sleep(0.7)
        if delivery.offset == 2:
            subscriber.stop()

    async with scene.subscriber() as subscriber:
        running = asyncio.create_task(subscriber.run(handle))
        for wait_s in (5.0, 19.0):
            await asyncio.sleep(wait_s)
            scene.publish(1)
        await running
    assert begun == [(1, 1), (2, 1)]
    # As nobody knows for how long it is held, it is extended at once.
    assert extensions(scene)[0] == 5.0
    assert scene.counts == [2, 0, 0, 0]


@virtual
async def test_lease_whose_answer_took_longer_than_it_lasts_is_lost() -> None:
    scene, begun = Scene(1, lease_ms=1000), list[int]()
    scene.calls.trouble("lease", Trouble(Way.ANSWERED, after_s=5.0))

    async def handle(delivery: Delivery) -> None:
        begun.append(delivery.delivery)
        if delivery.delivery == 1:
            await asyncio.sleep(1000.0)

    async with scene.subscriber() as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert begun[-1] == 2
    assert isinstance(scene.calls.of("settle")[0].answer, LeaseLost)
    assert scene.counts == [1, 0, 0, 0]


@virtual
async def test_nothing_is_extended_of_which_all_is_settled() -> None:
    """Though its handler goes on for long."""
    scene = Scene(3, lease_ms=2000)

    async def handle(batch: Batch) -> None:
        await batch.ack()
        await asyncio.sleep(60.0)

    async with scene.subscriber() as subscriber:
        await subscriber.run_batches(handle, until_caught_up=True)
    assert extensions(scene) == []
    assert len(scene.calls.settles) == 1
