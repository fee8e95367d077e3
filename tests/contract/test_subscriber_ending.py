"""How consuming ends, and what a subscriber refuses.

The numbers are those of docs/use/subscriber.md.
"""

import asyncio

import pytest
from aiohttp.test_utils import unused_port
from support.http import Client
from support.library import Record, subscriber_of, until_leased, within
from support.load import until
from support.subscribing import counts, deliveries_of, fill, lease, look, make, offsets_of
from support.tasks import StartSoon

from subscriber import (
    Delivery,
    ReconnectPolicy,
    Subscriber,
    SubscriptionError,
    SubscriptionGaveUp,
    SubscriptionRefused,
    Wait,
)

IMPATIENT = ReconnectPolicy(first_wait_s=0.01, max_wait_s=0.01, give_up_after_s=0.05)


async def test_stop_finishes_what_is_handled_and_releases_the_rest(
    client: Client, start_soon: StartSoon
) -> None:
    """16."""
    await fill(client, 10)
    await make(client)
    begun, go_on = asyncio.Event(), asyncio.Event()
    ended: list[int] = []

    async def handle(delivery: Delivery) -> None:
        begun.set()
        await go_on.wait()
        ended.append(delivery.offset)

    async with subscriber_of(client) as subscriber:
        running = start_soon(subscriber.run(handle))
        await begun.wait()
        subscriber.stop()
        # What was not begun is free before the rest has ended.
        await until_leased(client, [0, 0, 1, 9])
        assert not running.done()
        go_on.set()
        await within(running)
    assert ended == [1]
    assert counts(await look(client)) == [1, 0, 0, 9]
    again = await lease(client)
    assert (offsets_of(again), set(deliveries_of(again))) == (list(range(2, 11)), {1})


async def test_stop_ends_the_wait_for_events(client: Client, start_soon: StartSoon) -> None:
    """16."""
    await make(client)
    async with subscriber_of(client) as subscriber:
        running = start_soon(subscriber.run(Record().handler()))
        await until(lambda: getattr(subscriber._intake, "_waiting", None) is not None)
        subscriber.stop()
        await within(running)


async def test_stop_ends_a_loop_with_its_delivery_acknowledged(client: Client) -> None:
    """16."""
    await fill(client, 3)
    await make(client)
    async with subscriber_of(client) as subscriber:
        async for delivery in subscriber:
            assert delivery.offset == 1
            subscriber.stop()
    assert counts(await look(client)) == [1, 0, 0, 2]


async def test_a_loop_that_is_broken_off_releases_its_delivery(client: Client) -> None:
    """18. It was not asked for the next one."""
    await fill(client, 3)
    await make(client)
    async with subscriber_of(client) as subscriber:
        async for delivery in subscriber:
            if delivery.offset == 2:
                break
    seen = await look(client)
    assert (counts(seen), seen["redelivered"]) == ([1, 0, 0, 2], 0)
    again = await lease(client)
    assert (offsets_of(again), deliveries_of(again)) == ([2, 3], [1, 1])


@pytest.mark.parametrize(
    ("error", "deliveries"),
    [(ValueError("no"), 2), (SystemExit(), 1), (KeyboardInterrupt(), 1), (GeneratorExit(), 1)],
)
async def test_what_leaves_a_loop_retries_or_releases(
    client: Client, error: BaseException, deliveries: int
) -> None:
    """5., 6."""
    await fill(client, 2)
    await make(client, order="none", backoff_ms=[0])

    async def consume() -> None:
        async with subscriber_of(client) as subscriber:
            async for _ in subscriber:
                raise error

    with pytest.raises(type(error)):
        await consume()
    again = await lease(client)
    assert sorted(zip(offsets_of(again), deliveries_of(again), strict=True)) == [
        (1, deliveries),
        (2, 1),
    ]


async def test_cancelling_run_cancels_handlers_and_releases(
    client: Client, start_soon: StartSoon
) -> None:
    """6., 18. What was handled before is acknowledged."""
    await fill(client, 5)
    await make(client)
    begun = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        if delivery.offset == 3:
            begun.set()
            await asyncio.sleep(60)

    async def consume() -> None:
        async with subscriber_of(client, ack_within_s=30) as subscriber:
            await subscriber.run(handle)

    running = start_soon(consume())
    await begun.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    seen = await look(client)
    assert (counts(seen), seen["redelivered"]) == ([2, 0, 0, 3], 0)
    assert offsets_of(await lease(client)) == [3, 4, 5]


async def test_until_caught_up_ends_also_where_there_is_nothing(client: Client) -> None:
    """17."""
    await make(client)
    async with subscriber_of(client) as subscriber:
        await within(subscriber.run(Record().handler(), until_caught_up=True))
        await fill(client, 3)
        record = Record()
        await within(subscriber.run(record.handler(), until_caught_up=True))
        assert record.offsets() == [1, 2, 3]


async def test_closing_has_a_limit(client: Client) -> None:
    """18. The aggregator is gone; nothing can be told."""
    await fill(client, 2)
    await make(client)
    async with subscriber_of(client, close_timeout_s=0.05) as subscriber:
        async for _ in subscriber:
            # From here on nobody answers.
            subscriber._calls._base = f"http://127.0.0.1:{unused_port()}"  # type: ignore[attr-defined]
            break
    assert counts(await look(client)) == [0, 0, 2, 0]


async def test_a_subscriber_is_entered_once_and_used_by_one(
    client: Client, start_soon: StartSoon
) -> None:
    """19."""
    await make(client)
    subscriber = subscriber_of(client)
    handler = Record().handler()
    with pytest.raises(RuntimeError, match="not open: use `async with`"):
        await subscriber.run(handler)
    async with subscriber:
        running = start_soon(subscriber.run(handler))
        await asyncio.sleep(0)
        for used in (subscriber.run(handler), anext(aiter(subscriber))):
            with pytest.raises(RuntimeError, match="by one of run, run_batches and loops"):
                await used
        subscriber.stop()
        await within(running)
    with pytest.raises(RuntimeError, match="entered once"):
        await subscriber.__aenter__()


async def test_a_subscription_is_made_where_it_is_not_there(client: Client) -> None:
    """21."""
    settings = {"topics": ["orders"], "from": "start", "max_deliveries": 7}
    for _ in range(2):
        async with subscriber_of(client, create=settings):
            assert (await look(client))["settings"]["max_deliveries"] == 7
    with pytest.raises(SubscriptionRefused, match="max_deliveries") as refused:
        async with subscriber_of(client, create=settings | {"max_deliveries": 8}):
            raise AssertionError
    assert refused.value.status == 409


async def test_without_a_subscription_it_is_refused(client: Client) -> None:
    """21., 22."""
    with pytest.raises(SubscriptionRefused, match="there is no subscription 'billing'") as refused:
        async with subscriber_of(client):
            raise AssertionError
    assert refused.value.status == 404
    assert isinstance(refused.value, SubscriptionError)


async def test_a_subscription_that_is_deleted_ends_consuming(
    client: Client, start_soon: StartSoon
) -> None:
    """21. Handlers that run are cancelled: what they hold can't be settled."""
    await fill(client, 2)
    await make(client)
    was_cancelled = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        await client.delete("/subscriptions/billing")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            was_cancelled.set()
            raise

    async with subscriber_of(client) as subscriber:
        with pytest.raises(SubscriptionRefused, match="there is no subscription"):
            # The second of two at once asks for more.
            await within(subscriber.run(handle, concurrency=2))
    assert was_cancelled.is_set()


async def test_it_tries_again_and_gives_up_by_its_policy() -> None:
    """20."""
    waits: list[Wait] = []
    url = f"http://127.0.0.1:{unused_port()}"
    with pytest.raises(SubscriptionGaveUp) as gave_up:
        async with Subscriber(url, "billing", policy=IMPATIENT, on_wait=waits.append):
            raise AssertionError
    assert [wait.attempt for wait in waits] == list(range(1, len(waits) + 1))
    assert "cannot connect to 127.0.0.1" in waits[0].reason
    assert str(gave_up.value).startswith(
        f"gave up after {len(waits) + 1} tries (0.05 s without an answer), the last failure: cannot"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"max_events": 0}, "max_events must be from 1 to 10,000, not 0"),
        ({"max_events": 10_001}, "max_events must be from 1 to 10,000, not 10001"),
        ({"ack_within_s": -1}, "ack_within_s must be finite and 0 or more, not -1"),
        ({"close_timeout_s": float("inf")}, "close_timeout_s must be finite"),
        ({"consumer": ""}, "consumer must be 1 to 256 printable characters, not ''"),
        ({"consumer": "a\nb"}, "consumer must be 1 to 256 printable characters"),
        ({"name": ".."}, "a subscription's name is 1 to 249 characters of A-Z a-z 0-9 . _ -, not"),
        ({"name": "a/b"}, "not 'a/b'"),
        ({"url": "ftp://x"}, "'ftp://x' is not an http or https URL"),
    ],
)
async def test_arguments_out_of_range(arguments: dict[str, object], sentence: str) -> None:
    options: dict[str, object] = {"url": "http://127.0.0.1:1", "name": "billing", **arguments}
    with pytest.raises(ValueError, match=sentence):
        Subscriber(**options)  # type: ignore[arg-type]


async def test_numbers_of_a_run_out_of_range(client: Client) -> None:
    await make(client)
    async with subscriber_of(client) as subscriber:
        with pytest.raises(ValueError, match="concurrency must be at least 1, not 0"):
            await subscriber.run(Record().handler(), concurrency=0)
        with pytest.raises(ValueError, match="max_events must be from 1 to 10,000, not 0"):
            subscriber.batches(0)
