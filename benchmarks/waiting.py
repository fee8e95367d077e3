"""Publishing beside waits: what 1,000 clients that wait for the next event cost a publisher."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks import child
from benchmarks.databases import MakeDatabase
from benchmarks.measuring import Measured, Sent, WrongCounts, check, through
from benchmarks.serving import OWN_CHECKOUT, aggregator
from benchmarks.workload import Batch, Row

WAITS = 1_000
"""The number of clients that wait: as many as the server lets wait by default."""

QUIET = [f"quiet-{number}" for number in range(8)]
"""Topics with one event each, to which nothing is published while they are waited for."""


async def publish(make: MakeDatabase, sent: Sent, checkout: Path = OWN_CHECKOUT) -> Measured:
    """Measure publishing into an empty database.

    Args:
        make: makes the database.
        sent: the events.
        checkout: the checkout whose aggregator it is.

    Raises:
        WrongCounts: other events were counted than were sent.
    """
    async with make() as database:
        with aggregator(database.arguments, checkout) as server:
            measured, _ = await through([server], sent)
            await check(server.port, sent.events, sent.new)
    return measured


async def publish_beside_waits(
    make: MakeDatabase, sent: Sent, topics: Sequence[str], waits: int = WAITS
) -> Measured:
    """Measure publishing into a database while clients wait for events.

    Args:
        make: makes the database.
        sent: the events.
        topics: the topics that are waited for, `QUIET` or those that are published to.
        waits: the number of clients.

    Raises:
        NotServed: the server knows no waits.
        WrongCounts: other events were counted than were sent, a wait was given up, or one for a
            topic was answered with events that are not there.
    """
    quiet = Sent.of(sent.workload, [one_each(QUIET)])
    async with make() as database:
        with aggregator(database.arguments) as server:
            await through([server], Sent.of(sent.workload, [quiet.batches[0]] * 2))
            async with open_waits(server.port, waits, topics) as counts:
                measured, _ = await through([server], sent)
            await check(server.port, 2 * quiet.events + sent.events, quiet.new + sent.new)
    if counts["open"] < waits and topics == QUIET:
        raise WrongCounts(f"{counts['open']} waits are open, not {waits}")
    if bool(counts["events"]) is (topics == QUIET):
        raise WrongCounts(f"waits for {', '.join(topics)} were answered {counts['events']} events")
    return measured._replace(
        reads_s=counts["answered"] * measured.events_s / sent.events,
        refused=measured.refused + counts["refused"],
    )


def one_each(topics: Sequence[str]) -> Batch:
    """Return a batch of one event of each topic, the same each time."""
    return Batch(
        [Row(topic, "only", 1_700_000_000_000_000, "benchmark", "{}") for topic in topics],
        len(topics),
    )


@asynccontextmanager
async def open_waits(port: int, waits: int, topics: Sequence[str]) -> AsyncIterator[dict[str, int]]:
    """Keep clients waiting while the context lasts.

    Args:
        port: of the server.
        waits: the number of clients.
        topics: the topics, which they share.

    Yields:
        What is empty until the context ends: how many waits are `open` then, how many were
        `answered`, with how many `events`, and how many were `refused` and begun again.

    Raises:
        NotServed: the server knows no waits.
    """
    counts: dict[str, int] = {}
    async with child.running("waiting_client", port, waits, *topics) as clients:
        await clients.said()
        yield counts
        clients.end_input()
        counts.update(await clients.said())
