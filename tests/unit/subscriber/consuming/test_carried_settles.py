"""Settles that go with the request for the next lease."""

import asyncio
import logging

import pytest
from support.library_calls import Trouble, Way
from support.library_scene import Scene
from support.library_time import until, virtual

from subscriber import Delivery, LeaseLost

PATIENT_S = 30.0
"""How long acknowledgements may wait in these tests: longer than anything else."""


async def handle_at_once(_: Delivery) -> None:
    """Handle a delivery."""


@virtual
async def test_acknowledgements_of_a_lease_are_carried_by_the_request_for_the_next() -> None:
    scene = Scene(7)
    async with scene.subscriber(max_events=3, ack_within_s=PATIENT_S) as subscriber:
        await subscriber.run(handle_at_once, until_caught_up=True)
    assert [each.kind for each in scene.calls.sent] == [
        "settings",
        "lease",
        "carry",
        "carry",
        "carry",
    ]
    assert [settle.ack for settle in scene.calls.settles] == [
        [("orders", 1, 3)],
        [("orders", 4, 6)],
        [("orders", 7, 7)],
    ]
    assert scene.counts == [7, 0, 0, 0]


@pytest.mark.parametrize("way", [Way.NOT_DONE, Way.NOT_TOLD])
@virtual
async def test_carried_settle_whose_answer_is_lost_is_asked_for_again(way: Way) -> None:
    """The same, carried or not; a lease that came with it is released, and does not count."""
    scene, seen = Scene(6), list[tuple[int, int]]()
    scene.calls.trouble("carry", Trouble(way))
    scene.calls.trouble("settle", Trouble(way))

    async def handle(delivery: Delivery) -> None:
        seen.append((delivery.offset, delivery.delivery))

    async with scene.subscriber(max_events=3, ack_within_s=PATIENT_S) as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert seen == [(offset, 1) for offset in range(1, 7)]
    first, second, third, _ = scene.calls.settles
    assert first == second == third
    assert scene.counts == [6, 0, 0, 0]


@virtual
async def test_carried_settle_of_a_lost_lease_leaves_the_next_to_a_request_of_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is refused as a whole, with the lease that it asks for."""
    scene, seen = Scene(4), list[tuple[int, int]]()

    async def handle(delivery: Delivery) -> None:
        seen.append((delivery.offset, delivery.delivery))
        if seen == [(1, 1), (2, 1)]:
            scene.aggregator.lose_leases("billing")

    async with scene.subscriber(max_events=2, ack_within_s=PATIENT_S) as subscriber:
        with caplog.at_level(logging.WARNING, "subscriber"):
            await subscriber.run(handle, until_caught_up=True)
    assert seen == [(1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (4, 1)]
    refused = [each.kind for each in scene.calls.sent if isinstance(each.answer, LeaseLost)]
    assert refused == ["carry"]
    assert scene.counts == [4, 0, 0, 0]


@virtual
async def test_carried_settle_that_brings_nothing_is_done_and_the_wait_carries_none() -> None:
    scene, seen = Scene(1), list[int]()

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.offset)

    async with scene.subscriber(ack_within_s=PATIENT_S) as subscriber:
        running = asyncio.create_task(subscriber.run(handle))
        await until(lambda: scene.counts == [1, 0, 0, 0])
        await until(lambda: len(scene.calls.sent) == 4)
        scene.publish(1)
        await until(lambda: len(seen) == 2)
        subscriber.stop()
        await running
    kinds = [(each.kind, each.wait_ms) for each in scene.calls.sent[1:4]]
    assert kinds == [("lease", 20_000), ("carry", 0), ("lease", 20_000)]


@virtual
async def test_nothing_is_carried_while_a_settle_is_under_way() -> None:
    scene, gate, seen = Scene(8, order="none"), asyncio.Event(), list[int]()
    scene.calls.trouble("settle", Trouble(before=gate))

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.offset)
        if delivery.offset == 1:
            await delivery.ack()

    async with scene.subscriber(max_events=2, ack_within_s=PATIENT_S) as subscriber:
        running = asyncio.create_task(subscriber.run(handle, concurrency=2, until_caught_up=True))
        await until(lambda: len(seen) > 4)
        assert [each.kind for each in scene.calls.sent if each.settle is not None] == ["settle"]
        gate.set()
        await running
    assert scene.counts == [8, 0, 0, 0]


@virtual
async def test_lease_that_ran_out_here_while_it_was_carried_brings_the_next_all_the_same() -> None:
    scene, lost = Scene(3, lease_ms=1000), list[bool]()
    scene.calls.trouble("carry", Trouble(after_s=0.9))

    async def handle(delivery: Delivery) -> None:
        if delivery.offset == 1:
            # Nothing is extended, since it is done before the half of its lease has passed.
            await asyncio.sleep(0.4)

    async with scene.subscriber(max_events=1, ack_within_s=PATIENT_S) as subscriber:
        await subscriber.run(handle, until_caught_up=True)
        lost = [each.is_told for each in scene.calls.of("carry")]
    assert all(lost)
    assert scene.counts == [3, 0, 0, 0]
