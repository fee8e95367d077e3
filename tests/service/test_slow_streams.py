"""Streams that are read slowly, late or never, against the real process: nobody else is harmed."""

import itertools
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from support.backends import Database
from support.events import event
from support.following import Address, FollowingReader, all_following
from support.load import Told, batch_of, check_kept, publish, read_log, session, until
from support.processes import Aggregator
from support.sluggish import BOUND_MIB, connections, get, most_memory_mib

Run = Callable[..., Aggregator]

DEAD = 200
LATE = 4
EVENTS = 6000
PAYLOAD = '{"text": "%s"}' % ("x" * 2000)
"""12 MB in all: more than kernels take for a reader who takes nothing."""
SMALL_BUFFER = 4096

pytestmark = [
    pytest.mark.parametrize("backend", ["sqlite"]),
    pytest.mark.skipif(
        not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc"
    ),
]


async def fill(database: Database) -> None:
    store = database.store()
    await store.open()
    for start in range(0, EVENTS, 1000):
        await store.append([event("large", f"e-{start + n}", PAYLOAD) for n in range(1000)])
    await store.aclose()


def from_the_start(accept: bytes) -> bytes:
    """A request for the topic from its start."""
    return get("/events?topic=large&from=start" + "&follow=true" * (b"ndjson" in accept)).replace(
        b"\r\n\r\n", b"\r\nAccept: %b\r\n\r\n" % accept
    )


async def read_the_newest(client: aiohttp.ClientSession, url: str, number: int, told: Told) -> None:
    """Publish an event to who reads nothing else."""
    newest = FollowingReader(["new"])
    assert await newest.open(client, url) == 200
    await newest.next()
    assert await publish(client, url, batch_of("new", [f"e-{number}"]), told) == 200
    block = await newest.next()
    assert block is not None
    assert block.offset == number + 1
    newest.cut()


async def test_slow_and_dead_streams_harm_nobody_and_who_reads_later_misses_nothing(
    run_aggregator: Run, database: Database
) -> None:
    await fill(database)
    aggregator = run_aggregator(*database.arguments(), "--send-timeout-ms", "1000")
    url, told = aggregator.url, Told()
    late = [
        FollowingReader(["large"], begin={"from": "start"}, lines=n % 2 == 1) for n in range(LATE)
    ]
    async with session() as client:
        for reader in late:
            assert await reader.open(client, url) == 200
            await reader.next()
        with connections(aggregator) as clients:
            for accept in [b"text/event-stream", b"application/x-ndjson"] * (DEAD // 2):
                clients.open(from_the_start(accept), receive_buffer=SMALL_BUFFER)
            numbers = itertools.count()
            while len(aggregator.log_lines("response_aborted")) < DEAD:
                # Who reads on, and who publishes, notices none of it.
                await read_the_newest(client, url, next(numbers), told)
        stored = await read_log(client, url, "large")
        async with all_following(late, client, Address(url)):
            await until(lambda: all(reader.count >= EVENTS for reader in late))
        assert all(reader.events["large"] == stored for reader in late)
        await check_kept(client, url, told, ["new"])
    assert most_memory_mib(aggregator) < BOUND_MIB
    aborted = aggregator.log_lines("response_aborted")
    assert {line["reason"] for line in aborted} == {"not taken within 1 seconds"}
