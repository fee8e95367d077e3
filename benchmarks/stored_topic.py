"""One topic with the same events wherever it is read: in aggregators, bare databases and a peer."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import bare_reading, peer_jetstream, peer_jetstream_reading
from benchmarks.databases import MakeDatabase
from benchmarks.measuring import Sent, check, through
from benchmarks.serving import Server, aggregator
from benchmarks.workload import Row, Workload

WORKLOAD = Workload(duplicates=0, topics=1)
TOPIC = "topic-0"


class StoredTopic(NamedTuple):
    """The processes and databases that hold the events."""

    events: int
    servers: dict[tuple[str, int], Server]
    """The aggregators by backend and by the place of their checkout among those given."""
    bare: dict[str, str]
    """The locations of the bare databases by backend."""
    jetstream: tuple[str, int] | None
    """The URL of the peer and the number of its messages; None where it is not installed."""


@asynccontextmanager
async def store(
    backends: dict[str, MakeDatabase], checkouts: Sequence[Path], events: int, messages: int
) -> AsyncIterator[StoredTopic]:
    """Store the events everywhere; all processes run as long as the context lasts.

    Args:
        backends: what makes a database, by the name of the backend.
        checkouts: the checkouts whose aggregators are run.
        events: the number of events.
        messages: how many of them are published to JetStream, 0 if it can't be run.
    """
    sent = Sent.make(WORKLOAD, events)
    rows = [row for batch in sent.batches for row in batch.rows]
    servers: dict[tuple[str, int], Server] = {}
    bare: dict[str, str] = {}
    jetstream = None
    async with AsyncExitStack() as stack:
        for backend, make in backends.items():
            for number, checkout in enumerate(checkouts):
                database = await stack.enter_async_context(make())
                server = stack.enter_context(aggregator(database.arguments, checkout))
                await through([server], sent)
                await check(server.port, events, events)
                servers[backend, number] = server
            database = await stack.enter_async_context(make())
            bare[backend] = database.location
            await _fill_bare(backend, database.location, rows)
        if messages:
            url = stack.enter_context(peer_jetstream.server(sync=False))
            await peer_jetstream_reading.fill(url, rows[:messages])
            jetstream = url, messages
        yield StoredTopic(events, servers, bare, jetstream)


async def _fill_bare(backend: str, location: str, rows: Sequence[Row]) -> None:
    if backend == "SQLite":
        bare_reading.fill_sqlite(Path(location), bare_reading.stored(rows))
    else:
        await bare_reading.fill_postgres(location, bare_reading.stored(rows))
