"""Streams on which nothing happens, against the real process: they are cheap, and harm nobody."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from support.load import LIMIT_S, Told, batch_of, check_kept, publish, session
from support.metrics import Scraped
from support.processes import Aggregator
from support.sluggish import connections, get, most_memory_mib

Run = Callable[..., Aggregator]

KIB_A_STREAM = 20
MIB_BESIDES = 8
"""What a process takes for the first of everything."""
REQUEST = get("/events?topic=orders").replace(
    b"\r\n\r\n", b"\r\nAccept: text/event-stream\r\nUser-Agent: curl/8.5.0\r\n\r\n"
)

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc"
)


def read_up_to(streams: list[socket.socket], last: bytes) -> None:
    """Read of each stream until something has come."""
    for stream in streams:
        received = b""
        while last not in received:
            received += stream.recv(65_536)


async def publish_some(url: str, first: int, last: int, told: Told) -> None:
    async with session() as client:
        for number in range(first, last):
            batch = batch_of("orders", [f"e-{number}"])
            assert await publish(client, url, batch, told) == 200


async def until_all_are_closed(client: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            async with client.get(f"{url}/metrics") as response:
                if not Scraped(await response.text()).value("aggregator_streams"):
                    return


@pytest.mark.parametrize("number", [1000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_idle_streams_take_little_and_each_is_given_what_comes(
    run_aggregator: Run, many_descriptors: int, number: int
) -> None:
    number = min(number, many_descriptors)
    aggregator = run_aggregator("--max-connections", "25000", "--max-streams", "10000")
    told = Told()
    await publish_some(aggregator.url, 0, 10, told)
    before = most_memory_mib(aggregator)
    with connections(aggregator) as clients:
        streams = [clients.open(REQUEST) for _ in range(number)]
        await asyncio.to_thread(read_up_to, streams, b"caught-up")
        taken = most_memory_mib(aggregator) - before
        assert taken * 1024 < number * KIB_A_STREAM + MIB_BESIDES * 1024
        await publish_some(aggregator.url, 10, 20, told)
        await asyncio.to_thread(read_up_to, streams, b'"offset":20,')
    async with session() as client:
        await check_kept(client, aggregator.url, told, ["orders"])
        await until_all_are_closed(client, aggregator.url)
    assert not aggregator.log_lines("too_many_connections")
    assert b"Traceback" not in aggregator.written()
