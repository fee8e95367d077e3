"""Many readers of one topic's stream beside a bare server that writes the same pieces to as many.

From the start of a topic that is stored, and at its head while it is published to. Each reads in a
process that parses nothing; that of the bare server reads the same way. At the head the aggregator
is published to meanwhile; so the bare server is measured alone, and beside an aggregator that takes
the same events.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import child
from benchmarks.databases import MakeDatabase
from benchmarks.driving import connect, request
from benchmarks.measuring import Measured, Sent, check, through
from benchmarks.serving import Server, aggregator, bare_streams
from benchmarks.stored_topic import TOPIC

READERS = 200


async def from_start(server: Server, events: int, record: Path) -> Measured:
    """Measure streams from the start of a stored topic, to its head.

    Args:
        server: has the topic.
        events: the number of its events.
        record: a file for what came to one of them.

    Raises:
        NotServed: the server knows no streams.
    """
    cpu_s = server.cpu_s()
    ended = await child.run("fanout_client", server.port, READERS, TOPIC, events, "start", record)
    return _measured(ended, events * READERS, server.cpu_s() - cpu_s)


async def bare_from_start(events: int, record: Path) -> Measured:
    """Measure the bare server that writes what is in the file."""
    with bare_streams(record, "start") as server:
        return await from_start(server, events, record)


async def at_head(make: MakeDatabase, sent: Sent, record: Path) -> Measured:
    """Measure streams at the head of a topic from the first byte that they get to the last.

    Args:
        make: makes an empty database.
        sent: the events, of one topic, which are published as fast as they are taken.
        record: a file for what came to one of them.

    Raises:
        NotServed: the server knows no streams.
        WrongCounts: other events were counted than were sent.
    """
    async with make() as database:
        with aggregator(database.arguments) as server:
            async with child.running(
                "fanout_client", server.port, READERS, TOPIC, sent.new, "now", record
            ) as clients:
                await clients.said()
                cpu_s = server.cpu_s()
                await through([server], sent)
                ended = await clients.said()
            await check(server.port, sent.events, sent.new)
            return _measured(ended, sent.new * READERS, server.cpu_s() - cpu_s)


async def bare_at_head(sent: Sent, record: Path) -> Measured:
    """Measure the bare server that writes what is in the file once it is told to, alone."""
    with bare_streams(record, "now") as server:
        return await _told_to_write(server, sent, [], record)


async def bare_beside_publishing(make: MakeDatabase, sent: Sent, record: Path) -> Measured:
    """Measure the same while an aggregator takes the events, which nobody reads there."""
    async with make() as database:
        with aggregator(database.arguments) as taker, bare_streams(record, "now") as server:
            return await _told_to_write(server, sent, [taker], record)


async def _told_to_write(
    server: Server, sent: Sent, takers: Sequence[Server], record: Path
) -> Measured:
    async with child.running(
        "fanout_client", server.port, READERS, TOPIC, sent.new, "now", record
    ) as clients:
        await clients.said()
        cpu_s = server.cpu_s()
        (connection,) = await connect([server.port], 1)
        await connection.exchange(request(b""))
        connection.close()
        if takers:
            await through(takers, sent)
        ended = await clients.said()
    return _measured(ended, sent.new * READERS, server.cpu_s() - cpu_s)


def _measured(ended: Mapping[str, float], events: int, cpu_s: float) -> Measured:
    return Measured(
        events / ended["seconds"],
        mib_s=ended["bytes"] / ended["seconds"] / 2**20,
        cpu_s_per_million=cpu_s / events * 1e6,
        generator_cpu_s_per_million=ended["cpu_s"] / events * 1e6,
    )
