"""Leases as the service gives them, on a real store: waited for, released, filtered, trimmed."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.consuming import Consuming, consuming, given, offsets
from support.stores import until

from aggregator.ingest.group_commit import ShuttingDown
from aggregator.subscriptions import delivery_reads, filter_windows, known
from aggregator.subscriptions.errors import LeaseLost, NoSuchSubscription
from aggregator.wire.subscription_answers import LeaseAnswer
from storage.errors import StorageUnavailable
from storage.protocols import EventStore
from storage.subscriptions.commands import Change
from storage.subscriptions.model import Order

LONG_MS = 60_000
"""Longer than a test may take: what waits so long is answered for another reason."""


@pytest.fixture
async def service(store: EventStore) -> AsyncIterator[Consuming]:
    async with consuming(store) as made:
        yield made


def waiting(service: Consuming, count: int = 1) -> list["asyncio.Task[LeaseAnswer]"]:
    return [asyncio.create_task(service.lease(wait_ms=LONG_MS)) for _ in range(count)]


async def asleep(service: Consuming, count: int) -> None:
    await until(lambda: sleepers(service) == count, f"{count} consumers wait")


def sleepers(service: Consuming) -> int:
    found = service.parts.poller.known.get("s")
    return 0 if found is None else len(found.sleepers)


async def test_leases_are_given_one_behind_the_other_and_acknowledged(service: Consuming) -> None:
    await service.publish("t", 250)
    await service.make("t")
    found: list[int] = []
    while (answer := await service.lease(100)).token is not None:
        found += offsets(answer)
        await service.settle(answer)
    assert found == list(range(1, 251))
    status = await service.service.status("s", "")
    assert (status.totals.acknowledged, status.totals.waiting) == (250, 0)


async def test_a_publish_wakes_one_of_those_who_wait_and_more_wakes_the_next(
    service: Consuming,
) -> None:
    await service.publish("t", 1)
    await service.make("t", order=Order.NONE)
    await service.settle(await service.lease())
    tasks = waiting(service, 3)
    await asleep(service, 3)
    await service.publish("t", 1, first=1)
    done, pending = await asyncio.wait(tasks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    assert [offsets(task.result()) for task in done] == [[2]]
    assert len(pending) == 2
    await asleep(service, 2)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


async def test_a_settle_wakes_who_waits_for_its_topic(service: Consuming) -> None:
    await service.publish("t", 4)
    await service.make("t")
    first = await service.lease(2)
    (task,) = waiting(service)
    await asleep(service, 1)
    await service.settle(first)
    assert offsets(await asyncio.wait_for(task, 30)) == [3, 4]


async def test_a_lease_that_runs_out_wakes_who_waits(service: Consuming) -> None:
    await service.publish("t", 1)
    await service.make("t", lease_ms=50)
    assert given(await service.lease()) == [("t", 1, 1)]
    (task,) = waiting(service)
    assert given(await asyncio.wait_for(task, 30)) == [("t", 1, 2)]


async def test_at_shutdown_who_waits_is_answered_with_nothing(service: Consuming) -> None:
    await service.make("t")
    (task,) = waiting(service)
    await asleep(service, 1)
    service.waits.drain()
    answer = await asyncio.wait_for(task, 30)
    assert answer.token is None
    await service.parts.queue.drain(30)
    with pytest.raises(ShuttingDown):
        await service.lease()


async def test_who_is_cancelled_leaves_its_turn_to_the_next(service: Consuming) -> None:
    await service.publish("t", 1)
    await service.make("t")
    held = await service.lease()
    first, second = waiting(service, 2)
    await asleep(service, 2)
    await service.settle(held)
    # It has been woken, and has not run yet.
    first.cancel()
    await service.publish("t", 1, first=1)
    assert offsets(await asyncio.wait_for(second, 30)) == [2]


async def test_a_lease_whose_asker_is_cancelled_is_released_at_once(
    service: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.publish("t", 3)
    await service.make("t")
    reading, go_on = asyncio.Event(), asyncio.Event()
    read = delivery_reads.DeliveryReads.read

    async def read_late(*arguments: object) -> object:
        reading.set()
        await go_on.wait()
        return await read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(delivery_reads.DeliveryReads, "read", read_late)
    task = asyncio.create_task(service.lease())
    await reading.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    go_on.set()
    await until(lambda: service.parts.counters.released == 3, "it is released")
    monkeypatch.undo()
    # As if it had never been handed out.
    assert given(await service.lease()) == [("t", 1, 1), ("t", 2, 1), ("t", 3, 1)]


async def test_a_lease_that_can_not_be_read_is_released_at_once(
    service: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.publish("t", 3)
    await service.make("t")

    async def fail(*_arguments: object) -> None:
        raise StorageUnavailable("the disk is gone")

    monkeypatch.setattr(delivery_reads.DeliveryReads, "read", fail)
    with pytest.raises(StorageUnavailable, match="the disk is gone"):
        await service.lease()
    monkeypatch.undo()
    assert given(await service.lease()) == [("t", 1, 1), ("t", 2, 1), ("t", 3, 1)]


async def test_a_lease_is_trimmed_to_its_bytes_and_the_next_is_as_small(
    service: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_reads, "LEASE_BYTES", 4000)
    monkeypatch.setattr("aggregator.subscriptions.leases.LEASE_BYTES", 4000)
    await service.publish("t", 10, payload='{"a":"' + 1000 * "x" + '"}')
    await service.publish("u", 2)
    await service.make("t", "u", max_deliveries=1)
    first = await service.lease()
    assert given(first) == [("t", 1, 1), ("t", 2, 1), ("t", 3, 1), ("t", 4, 1)]
    status = await service.service.status("s", "")
    assert (status.totals.leased, status.totals.waiting) == (4, 8)
    assert first.token is not None
    assert first.token.extents == (("t", 1, 4),)
    await service.settle(first)
    # What was handed back was not delivered: it is the first time again.
    second = await service.lease(3)
    assert given(second)[0] == ("u", 1, 1)


async def test_a_filter_is_looked_through_in_bounded_steps(
    service: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filter_windows, "_WINDOW_ROWS", 10)
    monkeypatch.setattr("aggregator.subscriptions.leases.MAX_WINDOWS", 3)
    await service.publish("t", 55, source="shop")
    await service.publish("t", 2, source="bank")
    await service.publish("t", 3, source="shop", first=100)
    await service.make("t", source="bank")
    first = await service.lease()
    assert first.token is None
    status = await service.service.status("s", "")
    assert (status.totals.acknowledged, status.totals.waiting) == (30, 30)
    answer = await service.lease()
    assert offsets(answer) == [56, 57]
    await service.settle(answer)
    assert (await service.lease()).token is None
    status = await service.service.status("s", "")
    assert (status.totals.acknowledged, status.totals.waiting) == (60, 0)


async def test_another_filter_is_looked_through_anew(service: Consuming) -> None:
    await service.publish("t", 3, source="shop")
    await service.publish("t", 3, source="bank")
    await service.make("t", source="bank")
    answer = await service.lease(1)
    assert offsets(answer) == [4]
    await service.settle(answer)
    await service.service.change(Change(name="s", source="shop"))
    await service.publish("t", 1, source="shop", first=9)
    assert offsets(await service.lease()) == [7]


async def test_a_pattern_has_the_topics_that_appear_later(
    service: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "_STALE_S", 0.0)
    await service.publish("a.x", 1)
    await service.make("a.*")
    answer = await service.lease()
    assert given(answer) == [("a.x", 1, 1)]
    await service.settle(answer)
    (task,) = waiting(service)
    await asleep(service, 1)
    await service.publish("b.x", 1)
    await service.publish("a.y", 2)
    assert given(await asyncio.wait_for(task, 30)) == [("a.y", 1, 1), ("a.y", 2, 1)]


async def test_many_topics_are_all_consumed_and_their_lag_is_told(
    service: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MAX_CANDIDATES", 5)
    topics = [f"t{n:02}" for n in range(23)]
    for topic in topics:
        await service.publish(topic, 2)
    await service.make("**")
    found: list[tuple[str, int, int]] = []
    answers = [await service.lease()]
    assert answers[0].lag_events == 46
    while answers[-1].token is not None:
        found += given(answers[-1])
        await service.settle(answers[-1])
        answers.append(await service.lease())
    assert sorted(found) == [(topic, offset, 1) for topic in topics for offset in (1, 2)]


async def test_topics_take_turns(service: Consuming) -> None:
    for topic in "abc":
        await service.publish(topic, 10)
    await service.make("a", "b", "c")
    turns = []
    for _ in range(6):
        answer = await service.lease(2)
        turns.append(given(answer)[0][0])
        await service.settle(answer)
    assert turns == ["a", "b", "c", "a", "b", "c"]


async def test_a_subscription_that_was_made_anew_is_another(service: Consuming) -> None:
    await service.publish("t", 2)
    await service.make("t")
    old = await service.lease(1)
    await service.service.delete("s")
    with pytest.raises(NoSuchSubscription):
        await service.lease()
    await service.make("t")
    with pytest.raises(LeaseLost):
        await service.settle(old)
    assert offsets(await service.lease()) == [1, 2]


async def test_who_waits_for_a_subscription_that_is_deleted_is_told(service: Consuming) -> None:
    await service.make("t")
    (task,) = waiting(service)
    await asleep(service, 1)
    await service.service.delete("s")
    with pytest.raises(NoSuchSubscription):
        await asyncio.wait_for(task, 30)
