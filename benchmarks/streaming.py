"""Streams that are idle, and one that is not: what they take, and how soon an event comes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks import child, stream_delay
from benchmarks.databases import MakeDatabase
from benchmarks.measuring import Measured, Sent, WrongCounts, check, through, timed
from benchmarks.serving import aggregator
from benchmarks.waiting import QUIET, one_each
from benchmarks.workload import Workload

_ROOM = ["--max-streams", "10000", "--max-waits", "1000", "--max-connections", "25000"]
_WARM = 100


def _quiet() -> Sent:
    """Make an event of each topic of `QUIET`, which is sent twice."""
    return Sent.of(Workload(), [one_each(QUIET)] * 2)


@asynccontextmanager
async def idle(port: int, streams: int) -> AsyncIterator[None]:
    """Keep streams of `QUIET` topics open while the context lasts.

    Raises:
        NotServed: the server knows no streams.
        WrongCounts: some were not open any more at its end.
    """
    async with child.running("idle_streams", port, streams, *QUIET) as clients:
        await clients.said()
        yield
        clients.end_input()
        still_open = (await clients.said())["open"]
        if still_open != streams:
            raise WrongCounts(f"{still_open} streams are open, not {streams}")


async def publish_beside_idle(make: MakeDatabase, sent: Sent, streams: int) -> Measured:
    """Measure publishing into a database while streams are open; 0: with the same settings."""
    quiet = _quiet()
    async with make() as database:
        with aggregator([*database.arguments, *_ROOM]) as server:
            await through([server], quiet)
            if streams:
                async with idle(server.port, streams):
                    measured, _ = await through([server], sent)
            else:
                measured, _ = await through([server], sent)
            await check(server.port, quiet.events + sent.events, len(QUIET) + sent.new)
    return measured


async def memory_of_idle(make: MakeDatabase, streams: int) -> Measured:
    """Measure the resident memory that each of so many idle streams adds."""
    async with make() as database:
        with aggregator([*database.arguments, *_ROOM]) as server:
            await through([server], _quiet())
            async with idle(server.port, _WARM):
                before = server.resident_bytes()
                async with idle(server.port, streams):
                    added = server.resident_bytes() - before
    return Measured(0, stream_kib=added / streams / 1024)


async def delays(make: MakeDatabase, events: int) -> tuple[Measured, Measured]:
    """Measure how long a publisher waits for its answer, and a reader for the event.

    Returns:
        The figures of the answers and of the events at the reader.
    """
    async with make() as database:
        with aggregator(database.arguments) as server:
            ended = await child.run("stream_delay", server.port, events)
    rate = events / sum(map(max, ended["answered_s"], ended["came_s"]))
    return timed(rate, ended["answered_s"]), timed(rate, ended["came_s"])
