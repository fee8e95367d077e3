"""What the logger `subscriber` is told.

The numbers are those of docs/use/subscriber.md.
"""

import asyncio
import logging

import pytest
from support.http import Client
from support.library import subscriber_of, within
from support.load import until
from support.subscribing import fill, make

from subscriber import Batch, Delivery


async def test_dead_letters_and_a_pause_are_logged(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """4., and why nothing comes any more."""
    await fill(client, 5)
    await make(client, max_deliveries=2, backoff_ms=[0], stop_after_dead=2)

    async def fail(_: Delivery) -> None:
        raise ValueError("no")

    async def until_told() -> None:
        async with subscriber_of(client) as subscriber:
            running = asyncio.create_task(subscriber.run(fail, until_caught_up=True))
            await until(lambda: "is paused" in caplog.text)
            subscriber.stop()
            await running

    with caplog.at_level(logging.WARNING, "subscriber"):
        await within(until_told())
    messages = [each.getMessage() for each in caplog.records]
    told = "dead letters now, for they failed as often as they may: orders/"
    assert [each for each in messages if each.startswith("dead")] == [told + "1", told + "2"]
    assert messages[-1].startswith("the subscription 'billing' is paused and hands out nothing: ")


async def test_a_batch_that_fails_is_logged_with_its_cause_once(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """10."""
    await fill(client, 8)
    await make(client, max_deliveries=1)

    async def fail(batch: Batch) -> None:
        if 3 in [each.offset for each in batch]:
            raise ValueError(f"of {len(batch)}")

    with caplog.at_level(logging.WARNING, "subscriber"):
        async with subscriber_of(client) as subscriber:
            await within(subscriber.run_batches(fail, until_caught_up=True))
    assert [each.getMessage() for each in caplog.records][:2] == [
        "a batch of 8 failed and is handled in halves: ValueError: of 8",
        "delivery 1 of orders/3 failed: ValueError: of 1",
    ]
