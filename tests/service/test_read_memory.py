"""Reads of large payloads against the real process: its memory stays bounded, in bytes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession
from support.backends import Database
from support.events import event
from support.load import get_json, session
from support.metrics import Scraped
from support.processes import Aggregator
from support.sluggish import most_memory_mib

Run = Callable[..., Aggregator]

MIB = 2**20
EVENTS = 24
HUGE_BYTES = 12 * MIB
AT_ONCE = 12
READS_MIB = 64
ANSWERS_MIB = 32
BEING_MADE_MIB = 64
"""One answer of 12 MiB that is made, which may take more than twice its size for a moment, and the
pages of code and small objects that a process touches with its first reads."""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc"
)


async def fill(database: Database) -> None:
    """Payloads of a MiB with one character of four bytes, and one far over the usual limit."""
    store = database.store()
    await store.open()
    text = '{"text": "\U0001f600%s"}' % ("x" * (MIB - 100))
    for number in range(0, EVENTS, 8):
        await store.append([event("large", f"e-{number + i}", text) for i in range(8)])
    await store.append([event("large", "huge", '{"text": "%s"}' % ("x" * HUGE_BYTES))])
    await store.aclose()


async def read(client: ClientSession, url: str) -> int:
    """The bytes of an answer, which are not kept; 0 if it was cut off or refused."""
    size = 0
    async with client.get(url) as response:
        if response.status != 200:
            assert response.status == 503
            return 0
        async for data in response.content.iter_chunked(256 * 1024):
            size += len(data)
    return size


async def test_reads_at_once_hold_a_bounded_number_of_bytes_whatever_the_settings(
    database: Database, run_aggregator: Run
) -> None:
    await fill(database)
    aggregator = run_aggregator(
        *database.arguments(),
        *("--max-payload-bytes", str(16 * MIB), "--max-reads", "1000"),
        *(("--postgres-readers", "12") if database.backend == "postgres" else ()),
        *("--reads-max-bytes", str(READS_MIB * MIB), "--answers-max-bytes", str(ANSWERS_MIB * MIB)),
    )
    oldest = f"{aggregator.url}/events?topic=large&after=0&limit=5000"
    async with session() as client:
        await get_json(client, f"{aggregator.url}/events?topic=none")
        before = most_memory_mib(aggregator)
        sizes = await asyncio.gather(
            *(read(client, oldest) for _ in range(AT_ONCE)),
            *(read(client, f"{aggregator.url}/events?limit=5000") for _ in range(4)),
            *(read(client, f"{aggregator.url}/events/large/huge") for _ in range(4)),
        )
        scraped = Scraped(await (await client.get(f"{aggregator.url}/metrics")).text())
    grown = most_memory_mib(aggregator) - before
    assert grown < READS_MIB + ANSWERS_MIB + BEING_MADE_MIB
    assert scraped.value("aggregator_read_bytes") == 0
    assert scraped.value("aggregator_read_bytes_limit") == READS_MIB * MIB
    # They waited their turn. A page ends behind the event that takes it to 8 MiB.
    assert {size // MIB for size in sizes[:AT_ONCE]} == {9}
    assert {size // MIB for size in sizes[AT_ONCE:]} == {12}
