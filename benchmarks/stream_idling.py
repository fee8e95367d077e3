"""Idle streams: what ten thousand of them cost those who publish, and what memory one takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks import child
from benchmarks.databases import MakeDatabase
from benchmarks.measuring import Measured, Sent, WrongCounts, check, through
from benchmarks.serving import aggregator
from benchmarks.waiting import QUIET, one_each
from benchmarks.workload import Workload

STREAMS = 10_000
"""Streams that are open while events are published to other topics."""

OPENED_OVER_S = 15.0
"""The time in which they are opened: that of a heartbeat, so that heartbeats come evenly."""

IN_MEMORY = 5_000
_FIRST = 100
"""Streams that are there before memory is measured: the first ones load what they need."""

_ROOM = ["--max-streams", "10000", "--max-connections", "25000"]


@asynccontextmanager
async def idle(port: int, streams: int, over_s: float = 0) -> AsyncIterator[None]:
    """Keep streams of `QUIET` topics open while the context lasts.

    Args:
        port: of the server.
        streams: the number of streams.
        over_s: seconds in which they are opened, at the least.

    Raises:
        NotServed: the server knows no streams.
        WrongCounts: not all of them are open when the context ends.
    """
    async with child.running("idle_client", port, streams, over_s, *QUIET) as clients:
        await clients.said()
        yield
        clients.end_input()
        still_open = (await clients.said())["open"]
    if still_open != streams:
        raise WrongCounts(f"{still_open} streams are open, not {streams}")


async def publish(make: MakeDatabase, sent: Sent, streams: int) -> Measured:
    """Measure publishing into a database while streams are open.

    Args:
        make: makes the database.
        sent: the events.
        streams: their number; the settings allow 10,000, however many there are.

    Raises:
        NotServed: the server knows no streams.
        WrongCounts: other events were counted than were sent, or streams have ended.
    """
    quiet = _quiet()
    async with make() as database:
        with aggregator([*database.arguments, *_ROOM]) as server:
            await through([server], quiet)
            async with idle(server.port, streams, OPENED_OVER_S if streams else 0):
                measured, _ = await through([server], sent)
            await check(server.port, quiet.events + sent.events, len(QUIET) + sent.new)
    return measured


async def memory(make: MakeDatabase) -> Measured:
    """Measure the resident memory that each of `IN_MEMORY` idle streams adds.

    Raises:
        NotServed: the server knows no streams.
        WrongCounts: streams have ended.
    """
    async with make() as database:
        with aggregator([*database.arguments, *_ROOM]) as server:
            await through([server], _quiet())
            async with idle(server.port, _FIRST):
                before = server.resident_bytes()
                async with idle(server.port, IN_MEMORY):
                    added = server.resident_bytes() - before
    return Measured(0, stream_kib=added / IN_MEMORY / 1024)


def _quiet() -> Sent:
    """Make an event of each topic of `QUIET`, which is sent twice."""
    return Sent.of(Workload(), [one_each(QUIET)] * 2)
