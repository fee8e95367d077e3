"""Settles on their way: an answer that is lost, what comes meanwhile, and one at a time."""

import asyncio

import pytest
from support.library_calls import Trouble, Way
from support.library_scene import Scene
from support.library_time import turns, until, virtual

from subscriber import Batch, Delivery, LeaseLost

LOST_WAYS = [Way.NOT_DONE, Way.NOT_TOLD]


@pytest.mark.parametrize("way", LOST_WAYS)
@pytest.mark.parametrize("settles", ["ack", "retry", "dead", "release"])
@virtual
async def test_settle_whose_answer_is_lost_is_asked_for_again(way: Way, settles: str) -> None:
    """With the same body; who waits for it gets its answer."""
    scene, answered = Scene(2, order="none"), list[list[int]]()

    async def handle(delivery: Delivery) -> None:
        if delivery.offset == 1 and not answered:
            scene.calls.trouble("settle", Trouble(way), Trouble(way))
            await getattr(delivery, settles)()
            answered.append(scene.counts)

    async with scene.subscriber() as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    expected = {"ack": [1, 0, 1, 0], "dead": [0, 1, 1, 0]}.get(settles, [0, 0, 1, 1])
    assert answered == [expected]
    first, second, third = scene.calls.settles[:3]
    assert first == second == third
    assert [each.is_done for each in scene.calls.of("settle")[:2]] == [way is Way.NOT_TOLD] * 2
    assert [wait.attempt for wait in scene.waits] == [1, 2]


@virtual
async def test_extension_that_is_due_is_carried_and_the_rest_stays_the_same() -> None:
    scene, go_on = Scene(2, order="none", lease_ms=10_000), asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        if delivery.offset == 1:
            await delivery.ack()
        else:
            await go_on.wait()

    async with scene.subscriber() as subscriber:
        running = asyncio.create_task(subscriber.run(handle, concurrency=2, until_caught_up=True))
        # Each attempt is given up after a third of the lease, so the third is behind its half.
        scene.calls.trouble("settle", *[Trouble(before_s=100.0)] * 2)
        await until(lambda: scene.counts[0] == 1)
        go_on.set()
        await running
    first, second, third = scene.calls.settles[:3]
    assert (first, second.extend_ms, third.extend_ms) == (second, None, 10_000)
    assert third._replace(extend_ms=None) == first


@virtual
async def test_acknowledgements_that_come_while_a_settle_is_under_way_go_with_the_next() -> None:
    scene, gate, ended = Scene(5, order="none"), asyncio.Event(), list[int]()
    scene.calls.trouble("settle", Trouble(before=gate))

    async def handle(delivery: Delivery) -> None:
        if delivery.offset == 1:
            await delivery.ack()
        else:
            await until(lambda: scene.calls.settles)
        ended.append(delivery.offset)

    async with scene.subscriber(ack_within_s=0) as subscriber:
        running = asyncio.create_task(subscriber.run(handle, concurrency=5, until_caught_up=True))
        await until(lambda: len(ended) == 4)
        await asyncio.sleep(5.0)
        assert len(scene.calls.settles) == 1
        gate.set()
        await running
    settled = [settle.ack for settle in scene.calls.settles]
    assert settled == [[("orders", 1, 1)], [("orders", 2, 5)]]


@virtual
async def test_one_settle_is_under_way_at_a_time_over_all_leases() -> None:
    """The aggregator knows the answer only of the last lease that a consumer has ended."""
    scene, gate, ended = Scene(6, order="none"), asyncio.Event(), list[int]()

    async def handle(delivery: Delivery) -> None:
        await delivery.ack()
        ended.append(delivery.offset)

    scene.calls.trouble("settle", Trouble(after=gate))
    async with scene.subscriber(max_events=2) as subscriber:
        running = asyncio.create_task(subscriber.run(handle, concurrency=4, until_caught_up=True))
        await until(lambda: scene.counts[2] + scene.counts[0] == 4)
        await turns(50)
        assert len({settle.lease for settle in scene.calls.settles}) == 1
        assert ended == []
        gate.set()
        await running
    assert sorted(ended) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("is_carried", [True, False])
@virtual
async def test_lease_whose_answer_was_lost_is_asked_ahead_of_one_that_ends_meanwhile(
    is_carried: bool,
) -> None:
    """Once another lease has ended, the aggregator would not know it any more."""
    scene, gates = Scene(4, order="none"), [asyncio.Event() for _ in range(4)]
    acknowledged: list[int] = []

    async def handle(delivery: Delivery) -> None:
        await gates[delivery.offset - 1].wait()
        if delivery.offset <= 2 or not is_carried:
            await delivery.ack()
            acknowledged.append(delivery.offset)

    async with scene.subscriber(max_events=2, ack_within_s=5) as subscriber:
        running = asyncio.create_task(subscriber.run(handle, concurrency=4, until_caught_up=True))
        await until(lambda: scene.counts[2] == 4)
        kind = "carry" if is_carried else "settle"
        scene.calls.trouble(kind, Trouble(Way.NOT_TOLD))
        gates[2].set()
        gates[3].set()
        await until(lambda: scene.waits)
        gates[0].set()
        gates[1].set()
        await running
    assert acknowledged == ([1, 2] if is_carried else [3, 4, 1, 2])
    newer, again, older = scene.calls.settles
    assert (newer, newer.lease == older.lease) == (again, False)
    assert scene.counts == [4, 0, 0, 0]


@virtual
async def test_settle_of_a_lease_that_is_lost_raises_and_is_not_sent_again() -> None:
    scene, raised = Scene(2, order="none"), list[str]()

    async def handle(batch: Batch) -> None:
        if scene.counts[0] or raised:
            return
        scene.aggregator.lose_leases("billing")
        for settle in (batch.ack, batch.retry, batch[0].ack):
            with pytest.raises(LeaseLost) as lost:
                await settle()
            raised.append(str(lost.value))

    async with scene.subscriber() as subscriber:
        await subscriber.run_batches(handle, until_caught_up=True)
    assert raised == ["the lease has run out, or is somebody else's"] * 3
    leases = [settle.lease for settle in scene.calls.settles]
    assert leases.count(leases[0]) == 1


@virtual
async def test_refusal_whose_answer_is_lost_is_asked_for_again() -> None:
    scene, raised = Scene(1), list[bool]()

    async def handle(delivery: Delivery) -> None:
        if raised:
            return
        scene.aggregator.lose_leases("billing")
        scene.calls.trouble("settle", Trouble(Way.NOT_TOLD))
        with pytest.raises(LeaseLost):
            await delivery.ack()
        raised.append(delivery.is_lost)

    async with scene.subscriber() as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert raised == [True]
    assert scene.counts == [1, 0, 0, 0]


@virtual
async def test_acknowledgement_is_sent_although_who_waits_for_it_is_cancelled() -> None:
    scene, gate = Scene(1), asyncio.Event()
    scene.calls.trouble("settle", Trouble(before=gate))

    async def handle(delivery: Delivery) -> None:
        acknowledging = asyncio.create_task(delivery.ack())
        await turns(5)
        acknowledging.cancel()
        await turns(5)
        assert acknowledging.cancelled()
        gate.set()

    async with scene.subscriber() as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert scene.counts == [1, 0, 0, 0]
    assert [settle.ack for settle in scene.calls.settles] == [[("orders", 1, 1)]]


@virtual
async def test_who_waits_for_a_settle_that_was_under_way_when_its_lease_ran_out_is_told() -> None:
    """By the clock here, whatever becomes of the request."""
    scene, raised = Scene(1, lease_ms=6000), list[float]()
    begun_s = asyncio.get_running_loop().time()

    async def handle(delivery: Delivery) -> None:
        if raised:
            return
        scene.calls.trouble("settle", *[Trouble(before_s=100.0)] * 3)
        with pytest.raises(LeaseLost):
            await delivery.ack()
        raised.append(asyncio.get_running_loop().time() - begun_s)

    async with scene.subscriber() as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert raised == [6.0]
    assert scene.counts == [1, 0, 0, 0]
