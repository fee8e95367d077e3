"""Consumers beside others: one that vanishes, and publishes that are held up."""

import asyncio
import socket
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from support.backends import Database
from support.events import published
from support.held import Place, held
from support.load import Told, publish, session, until_answer
from support.processes import Aggregator
from support.remote_subscription import RemoteSubscription
from support.subscribing import counts, deliveries_of, offsets_of

Run = Callable[..., Aggregator]

_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: a close resets the connection."""


async def vanish_in_mid_answer(url: str) -> None:
    """Ask for a lease, read the first of its answer, and reset the connection."""
    body = b'{"consumer": "gone", "max_events": 10}'
    parts = urlsplit(url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (parts.hostname, parts.port))
        head = (
            f"POST /subscriptions/billing/lease HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
        )
        await loop.sock_sendall(connection, f"{head}\r\n\r\n".encode() + body)
        assert (await loop.sock_recv(connection, 100)).startswith(b"HTTP/1.1 200 ")


async def test_a_consumer_that_vanishes_in_mid_answer_has_no_lease(
    run_aggregator: Run, tmp_path: Path
) -> None:
    aggregator = run_aggregator("--database", str(tmp_path / "events.db"))
    async with session() as client:
        subscription = RemoteSubscription(client, aggregator.url)
        for _ in range(6):
            await subscription.fill(1, payload={"text": "x" * 900_000})
        await subscription.make(lease_ms=43_200_000)
        await vanish_in_mid_answer(aggregator.url)
        lease = await subscription.lease(wait_ms=60_000)
        # Released, and so it does not count that it was given.
        assert (offsets_of(lease), deliveries_of(lease)) == ([1, 2, 3, 4, 5, 6], [1] * 6)


@pytest.mark.parametrize("backend", ["postgres"])
async def test_consumers_and_publishers_do_not_wait_for_each_other(
    run_aggregator: Run, database: Database
) -> None:
    aggregator = run_aggregator(*database.arguments())
    async with session() as client, held(database.dsn) as rows:
        subscription = RemoteSubscription(client, aggregator.url)
        await subscription.fill(4)
        await subscription.make()
        async with held(database.dsn, Place.INSERT) as inserts:
            publishing = asyncio.create_task(subscription.fill(1))
            await inserts.stopped()
            lease = await subscription.lease()
            await subscription.settle(lease, ack=[["orders", 1, 2]])
            assert counts(await subscription.look()) == [2, 0, 2, 0]
            assert not publishing.done()
            await inserts.let_go()
            await publishing

        transaction = rows.connection.transaction()
        await transaction.start()
        await rows.connection.execute("SELECT FROM subscriptions FOR UPDATE")
        settling = asyncio.create_task(subscription.settle(lease, ack=[["orders", 3, 4]]))
        await rows.stopped("transactionid")
        await subscription.fill(1)
        assert not settling.done()
        await transaction.rollback()
        assert (await settling)["acknowledged"] == 2


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_a_settle_does_not_wait_for_the_batches_that_came_before_it(
    run_aggregator: Run, database: Database
) -> None:
    aggregator = run_aggregator(
        *database.arguments(),
        *("--flush-max-events", "5000", "--sqlite-busy-timeout-ms", "60000"),
    )
    done: list[str] = []

    async def publish_many(client: aiohttp.ClientSession) -> None:
        batch = [published() for _ in range(5_000)]
        assert await publish(client, aggregator.url, batch, Told()) == 200
        done.append("batch")

    async with session() as client:
        subscription = RemoteSubscription(client, aggregator.url)
        await subscription.fill(2)
        await subscription.make()
        lease = await subscription.lease()
        lock = sqlite3.connect(database.path, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        batches = [asyncio.create_task(publish_many(client)) for _ in range(5)]
        metrics = f"{aggregator.url}/metrics"
        await until_answer(client, metrics, 200, "aggregator_queue_events 25000.0")

        async def settle() -> None:
            await subscription.settle(lease, ack=[["orders", 1, 2]])
            done.append("settle")

        settling = asyncio.create_task(settle())
        await until_answer(client, metrics, 200, "aggregator_commands_waiting 1.0")
        lock.execute("ROLLBACK")
        lock.close()
        await asyncio.gather(settling, *batches)
    # The batch that was under way is ahead of it, and no other one.
    assert done.index("settle") <= 1
