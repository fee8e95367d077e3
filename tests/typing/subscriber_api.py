"""The types of the public API of `subscriber`, as mypy sees them; nothing here is run.

See `publisher_api`.
"""

import sqlite3
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, assert_type

import aiosqlite
import asyncpg
import psycopg

from subscriber import (
    Batch,
    BlockingBatch,
    BlockingDelivery,
    BlockingSubscriber,
    Delivery,
    Event,
    FollowRefused,
    HoleError,
    LeaseLost,
    ReconnectPolicy,
    Subscriber,
    SubscriptionError,
    SubscriptionGaveUp,
    SubscriptionRefused,
    checkpoint,
    create_checkpoint_table,
    follow,
    result_id,
)
from subscriber.testing import InMemoryAggregator


async def following() -> None:
    """What `follow` takes and gives."""
    async with follow("http://x", "orders", "payments.*", last=10) as events:
        async for event in events:
            assert_type(event, Event)
            assert_type(event.offset, int)
            assert_type(event.timestamp, datetime)
            assert_type(event.payload, dict[str, Any])
            event.offset = 1  # type: ignore[misc]
        assert_type(events.position, str | None)
    follow("http://x", "orders", start="yesterday")  # type: ignore[arg-type]
    follow("http://x", 17)  # type: ignore[arg-type]


async def handlers() -> None:
    """What handlers are given, and which may be given."""

    async def handle(delivery: Delivery) -> None:
        assert_type(delivery.event, Event)
        assert_type(await delivery.retry(after=1.5, error="later"), None)
        await delivery.dead("never")
        await delivery.retry(5)  # type: ignore[call-arg]

    async def handle_batch(batch: Batch) -> int:
        assert_type(batch[0], Delivery)
        assert_type(batch[1:], Batch)
        assert_type(batch.events, list[Event])
        assert_type([each.delivery for each in batch], list[int])
        return len(batch)

    def plain(_: Delivery) -> None: ...

    async with Subscriber("http://x", "billing") as subscriber:
        assert_type(subscriber, Subscriber)
        assert_type(await subscriber.run(handle, concurrency=8), None)
        await subscriber.run_batches(handle_batch, 100, until_caught_up=True)
        await subscriber.run(plain)  # type: ignore[arg-type]
        await subscriber.run(handle_batch)  # type: ignore[arg-type]
        await subscriber.run_batches(handle)  # type: ignore[arg-type]
        await subscriber.run(handle, 8)  # type: ignore[call-arg]
        async for delivery in subscriber:
            assert_type(delivery, Delivery)
        async for batch in subscriber.batches(10):
            assert_type(batch, Batch)
        assert_type(subscriber.stop(), None)


def subscribers(policy: ReconnectPolicy) -> None:
    """What a Subscriber is set up with."""
    Subscriber("http://x", "billing", create={"topics": ["orders"], "from": "start"})
    Subscriber("http://x", "billing", policy=policy, max_events=10, ack_within_s=0)
    Subscriber("http://x")  # type: ignore[call-arg]
    Subscriber("http://x", "billing", max_events="10")  # type: ignore[arg-type]


def blocking() -> None:
    """The same without asyncio."""

    def handle(delivery: BlockingDelivery) -> None:
        assert_type(delivery.event, Event)
        assert_type(delivery.ack(), None)

    async def asynchronous(_: BlockingDelivery) -> None: ...

    with BlockingSubscriber("http://x", "billing") as subscriber:
        assert_type(subscriber.run(handle, concurrency=2), None)
        subscriber.run(asynchronous)  # type: ignore[arg-type]
        for delivery in subscriber:
            assert_type(delivery, BlockingDelivery)
        for batch in subscriber.batches():
            assert_type(batch, BlockingBatch)
            assert_type(batch[0], BlockingDelivery)


async def checkpoints(
    batch: Batch,
    postgres: "asyncpg.Connection[asyncpg.Record]",
    sqlite: aiosqlite.Connection,
    psycopg_async: "psycopg.AsyncConnection[Any]",
) -> None:
    """What `checkpoint` is entered with, by connection."""
    async with checkpoint(postgres, "billing", batch) as fresh:
        assert_type(fresh, list[Event])
    async with checkpoint(sqlite, "billing", batch[0]) as fresh:
        assert_type(fresh, list[Event])
    async with checkpoint(psycopg_async, "billing", batch) as fresh:
        assert_type(fresh, list[Event])
    await create_checkpoint_table(postgres)
    await create_checkpoint_table(sqlite)
    with checkpoint(postgres, "billing", batch) as fresh:  # type: ignore[attr-defined]
        pass


def blocking_checkpoints(
    batch: BlockingBatch, sqlite: sqlite3.Connection, postgres: "psycopg.Connection[Any]"
) -> None:
    """The same with connections whose calls block."""
    with checkpoint(sqlite, "billing", batch) as fresh:
        assert_type(fresh, list[Event])
    with checkpoint(postgres, "billing", batch[0]) as fresh:
        assert_type(fresh, list[Event])
    create_checkpoint_table(sqlite)


def results(event: Event) -> None:
    """The ids of results."""
    assert_type(result_id(event, "invoice"), str)
    result_id("orders", "invoice")  # type: ignore[arg-type]


def errors(
    refused: SubscriptionRefused, gave_up: SubscriptionGaveUp, lost: LeaseLost, hole: HoleError
) -> None:
    """What errors are, and tell."""
    every: list[SubscriptionError] = [refused, gave_up, lost]
    assert_type(refused.status, int | None)
    assert_type(gave_up.attempts, int)
    every.append(hole)  # type: ignore[arg-type]
    FollowRefused(404, "no")


async def doubles(handle: Callable[[Delivery], Awaitable[None]]) -> None:
    """The double."""
    aggregator = InMemoryAggregator()
    aggregator.create("billing", {"topics": ["orders"], "from": "start"})
    aggregator.publish("orders", {"total": 42})
    async with aggregator.subscriber("billing") as subscriber:
        await subscriber.run(handle, until_caught_up=True)
    assert_type(aggregator.subscription("billing").acknowledged, int)
