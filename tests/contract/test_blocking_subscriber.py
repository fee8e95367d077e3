"""`BlockingSubscriber`: the same promises without asyncio.

The numbers are those of docs/use/subscriber.md.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.http import Client
from support.library import until_leased, url_of
from support.subscribing import counts, deliveries_of, fill, lease, look, make, offsets_of, send
from support.talking import get_json

from subscriber import (
    AlreadySettled,
    BlockingBatch,
    BlockingDelivery,
    BlockingSubscriber,
    LeaseLost,
    SubscriptionRefused,
)

LIMIT_S = 30.0


async def in_thread(work: Callable[[], Any]) -> Any:
    """The result of a blocking call, which has a thread of its own."""
    async with asyncio.timeout(LIMIT_S):
        return await asyncio.to_thread(work)


async def test_deliveries_are_handled_in_threads(client: Client) -> None:
    """1., 2., 23."""
    topics = ["a", "b", "c"]
    await fill(client, 30, *topics)
    await make(client, *topics)
    url, handled = url_of(client), list[tuple[str, int]]()
    together = threading.Barrier(3, timeout=LIMIT_S)
    threads = set[str]()

    def handle(delivery: BlockingDelivery) -> None:
        if delivery.offset == 1:
            together.wait()
        threads.add(threading.current_thread().name.rpartition("_")[0])
        handled.append((delivery.event.topic, delivery.event.offset))

    def consume() -> None:
        with BlockingSubscriber(url, "billing", max_events=40) as subscriber:
            subscriber.run(handle, concurrency=3, until_caught_up=True)

    await in_thread(consume)
    assert threads == {"handler"}
    for topic in topics:
        assert [offset for name, offset in handled if name == topic] == list(range(1, 31))
    assert counts(await look(client)) == [90, 0, 0, 0]


async def test_an_exception_retries_and_a_delivery_settles(client: Client) -> None:
    """4., 7."""
    await fill(client, 6)
    await make(client, order="none", backoff_ms=[0], max_deliveries=2)
    url, seen = url_of(client), list[int]()

    def handle(delivery: BlockingDelivery) -> None:
        seen.append(delivery.offset)
        match delivery.offset:
            case 1:
                raise ValueError("no")
            case 2:
                delivery.dead("never")
            case 3:
                delivery.ack()
                with pytest.raises(AlreadySettled):
                    delivery.ack()
            case 4 if delivery.delivery == 1:
                delivery.retry(after=0, error="later")
            case 5 if seen.count(5) == 1:
                delivery.release()

    def consume() -> None:
        with BlockingSubscriber(url, "billing") as subscriber:
            subscriber.run(handle, until_caught_up=True)

    await in_thread(consume)
    assert [seen.count(offset) for offset in range(1, 7)] == [2, 1, 1, 2, 2, 1]
    letters = await get_json(client, "/subscriptions/billing/dead")
    assert {each["offset"]: each["last_error"] for each in letters} == {
        1: "ValueError: no",
        2: "never",
    }


async def test_batches_are_handled_in_halves(client: Client) -> None:
    """10."""
    await fill(client, 20)
    await make(client, backoff_ms=[0], max_deliveries=2)
    url, done = url_of(client), list[int]()

    def handle(batch: BlockingBatch) -> None:
        offsets = [event.offset for event in batch.events]
        assert offsets == [delivery.offset for delivery in batch]
        if 7 in offsets:
            raise ValueError("poison")
        done.extend(offsets)

    def consume() -> None:
        with BlockingSubscriber(url, "billing") as subscriber:
            subscriber.run_batches(handle, 20, until_caught_up=True)

    await in_thread(consume)
    assert done == [offset for offset in range(1, 21) if offset != 7]
    assert counts(await look(client)) == [19, 1, 0, 0]


async def test_loops(client: Client) -> None:
    """5., 11., 16."""
    await fill(client, 25)
    await make(client)
    url = url_of(client)

    def consume() -> tuple[list[int], list[int]]:
        with BlockingSubscriber(url, "billing") as subscriber:
            first: list[int] = []
            for delivery in subscriber:
                first.append(delivery.offset)
                if len(first) == 5:
                    delivery.ack()
                    break
            sizes: list[int] = []
            for batch in subscriber.batches(10):
                sizes.append(len(batch))
                if sum(sizes) == 20:
                    subscriber.stop()
            return first, sizes

    assert await in_thread(consume) == ([1, 2, 3, 4, 5], [10, 10])
    assert counts(await look(client)) == [25, 0, 0, 0]


@pytest.mark.parametrize(("error", "deliveries"), [(ValueError("no"), 2), (KeyboardInterrupt(), 1)])
async def test_what_leaves_a_loop_retries_or_releases(
    client: Client, error: BaseException, deliveries: int
) -> None:
    """5., 6."""
    await fill(client, 1)
    await make(client, backoff_ms=[0])
    url = url_of(client)

    def consume() -> None:
        with pytest.raises(type(error)):
            loop()

    def loop() -> None:
        with BlockingSubscriber(url, "billing") as subscriber:
            for _ in subscriber:
                raise error

    await in_thread(consume)
    assert deliveries_of(await lease(client)) == [deliveries]


async def test_a_lost_lease_is_told_and_its_topic_waits_for_the_thread(client: Client) -> None:
    """13., 23."""
    await fill(client, 2)
    await fill(client, 1, "payments")
    await make(client, "orders", "payments")
    url, handled = url_of(client), list[tuple[str, int]]()
    together, ends = threading.Barrier(2, timeout=LIMIT_S), threading.Event()
    lost: list[bool] = []
    is_sought, is_noticed = threading.Event(), threading.Event()

    def handle(delivery: BlockingDelivery) -> None:
        handled.append((delivery.topic, delivery.offset))
        if lost or handled.count((delivery.topic, delivery.offset)) > 1:
            return
        together.wait()
        assert is_sought.wait(LIMIT_S)
        if delivery.topic == "payments":
            with pytest.raises(LeaseLost):
                delivery.ack()
            is_noticed.set()
            return
        assert ends.wait(LIMIT_S)
        lost.append(delivery.is_lost)

    def consume() -> None:
        with BlockingSubscriber(url, "billing") as subscriber:
            subscriber.run(handle, concurrency=3, until_caught_up=True)

    consuming = asyncio.create_task(in_thread(consume))
    await until_leased(client, [0, 0, 3, 0])
    await send(client, "seek", {"from": "start"})
    is_sought.set()
    assert await asyncio.to_thread(is_noticed.wait, LIMIT_S)
    # They are leased anew, and what is handled in a thread still keeps its topic from being begun.
    await until_leased(client, [0, 0, 3, 0], [1, 0, 2, 0])
    assert handled.count(("orders", 1)) == 1
    ends.set()
    await consuming
    assert lost == [True]
    assert [offset for topic, offset in handled if topic == "orders"] == [1, 1, 2]


async def test_stop_from_another_thread(client: Client) -> None:
    """16."""
    await fill(client, 3)
    await make(client)
    url, begun, go_on = url_of(client), threading.Event(), threading.Event()
    subscriber = BlockingSubscriber(url, "billing")

    def handle(delivery: BlockingDelivery) -> None:
        begun.set()
        assert go_on.wait(LIMIT_S)

    def consume() -> None:
        with subscriber:
            subscriber.run(handle)

    consuming = asyncio.create_task(in_thread(consume))
    assert await asyncio.to_thread(begun.wait, LIMIT_S)
    subscriber.stop()
    await until_leased(client, [0, 0, 1, 2])
    go_on.set()
    await consuming
    assert offsets_of(await lease(client)) == [2, 3]


async def test_what_is_refused(client: Client) -> None:
    """19., 21."""
    url = url_of(client)

    def consume() -> None:
        with pytest.raises(RuntimeError, match="not open: use `with`"):
            BlockingSubscriber(url, "billing").run(print)
        with pytest.raises(SubscriptionRefused, match="there is no subscription"):
            BlockingSubscriber(url, "billing").__enter__()
        subscriber = BlockingSubscriber(url, "billing", create={"topics": ["orders"]})
        with subscriber:
            assert subscriber.name == "billing"
        with pytest.raises(RuntimeError, match="entered once"):
            subscriber.__enter__()

    await in_thread(consume)


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_checks_are_made_in_the_thread_of_the_handler(client: Client) -> None:
    """26. By then its connection may be in the next one's transaction elsewhere."""
    await fill(client, 2)
    await make(client)
    url, threads = url_of(client), list[tuple[str, str]]()

    def handle(batch: BlockingBatch) -> None:
        name = threading.current_thread().name
        batch.before_ack(lambda: threads.append((name, threading.current_thread().name)))

    def consume() -> None:
        with BlockingSubscriber(url, "billing") as subscriber:
            subscriber.run_batches(handle, until_caught_up=True)

    await in_thread(consume)
    assert len(threads) >= 2
    assert all(handler == checked for handler, checked in threads[:2])


async def test_a_coroutine_function_is_refused_and_nothing_is_acknowledged(client: Client) -> None:
    """23. Its work would never begin."""
    await fill(client, 3)
    await make(client)
    url = url_of(client)

    async def handle(_: object) -> None:
        raise AssertionError("nobody awaits it")

    def consume() -> None:
        with BlockingSubscriber(url, "billing") as subscriber:
            with pytest.raises(TypeError, match="must be a plain function, not async def"):
                subscriber.run(handle, until_caught_up=True)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="must be a plain function, not async def"):
                subscriber.run_batches(handle, until_caught_up=True)  # type: ignore[arg-type]

    await in_thread(consume)
    assert counts(await look(client)) == [0, 0, 0, 3]
