"""The memory of leases: reserved before one is decided, free once its answer is sent."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.consuming import Consuming, consuming, offsets

from aggregator.reading.bounded_read import EXPECTED_PAYLOAD_BYTES
from aggregator.subscriptions import delivery_reads
from aggregator.wire.lease_request import LeaseRequest
from storage.protocols import EventStore
from storage.subscriptions.model import Order


@pytest.fixture
async def service(store: EventStore) -> AsyncIterator[Consuming]:
    async with consuming(store) as made:
        yield made


async def test_leases_that_are_read_or_on_their_way_have_a_bound_in_bytes(
    service: Consuming,
) -> None:
    room = service.parts.room
    await service.publish("t", 6)
    await service.make("t", order=Order.NONE)
    request = LeaseRequest("c", 2)
    size = 2 * EXPECTED_PAYLOAD_BYTES
    # Of what size its events are is not known yet.
    held = []
    for _ in range(room.max_bytes // delivery_reads.LEASE_BYTES):
        await room.acquire(delivery_reads.LEASE_BYTES)
        held.append(delivery_reads.LEASE_BYTES)
    task = asyncio.create_task(service.service.lease("s", request))
    for _ in range(20):
        await asyncio.sleep(0)
    status = await service.service.status("s", "")
    assert (task.done(), status.totals.leased) == (False, 0)
    room.release(held.pop())
    first = await asyncio.wait_for(task, 30)
    assert offsets(first) == [1, 2]
    # Its memory is held until the answer is sent.
    assert room.bytes == sum(held) + size
    first.done()
    first.done()
    assert room.bytes == sum(held)
    # What small events need is known now.
    second = await service.service.lease("s", request)
    assert sum(held) < room.bytes < sum(held) + 10_000
    second.done()
    third = await service.service.lease("s", LeaseRequest("c", 10))
    assert offsets(third) == [5, 6]
    third.done()
    assert (await service.service.lease("s", request)).token is None
    assert room.bytes == sum(held)
