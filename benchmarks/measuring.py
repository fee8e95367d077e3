"""One measurement: a workload through the service, or through one of its ceilings."""

import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from benchmarks import bare_postgres, bare_sqlite
from benchmarks.databases import MakeDatabase
from benchmarks.driving import Driven, closed_loop, connect, get, request
from benchmarks.serving import Server, aggregator, bare_handler
from benchmarks.workload import Batch, Row, Workload, batches

CEILING_BATCH = 2_000
"""The number of rows in a transaction of a bare database."""


class WrongCounts(Exception):
    """An aggregator counted other events than were sent."""


class Measured(NamedTuple):
    """The figures of one measurement, None where they do not apply."""

    events_s: float
    """0 where none are sent."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    max_ms: float | None = None
    late_p99_ms: float | None = None
    """The delay between when requests of an open loop were due and when they left."""
    start_ms: float | None = None
    """The time from the start of the process until it was ready."""
    reads_s: float | None = None
    """Reads per second that were answered beside the events."""
    reads_p50_ms: float | None = None
    reads_p99_ms: float | None = None
    cpu_s_per_million: float | None = None
    """Processor time of the aggregator, without the processes of the database."""
    all_cpu_s_per_million: float | None = None
    """Processor time of the aggregator and of the database's processes, where both are measured."""
    generator_cpu_s_per_million: float | None = None
    resident_mib: float | None = None
    """Resident memory of the aggregator's processes: after the load, or at its peak."""
    high_water_mib: float | None = None
    """The sum of the greatest resident memory that each process had, whenever that was."""
    bytes_per_event: float | None = None
    """Bytes on disk per stored event."""
    mib_s: float | None = None
    """MiB a second that came to all readers of streams together."""
    shipper_cpu_s: float | None = None
    """Processor time of a shipper while its files are quiet, in seconds."""
    stream_kib: float | None = None
    """Resident memory of one idle stream in KiB."""
    refused: int = 0
    """The number of requests that were answered 503 and sent again."""


class Sent(NamedTuple):
    """The events of a workload, ready to send."""

    workload: Workload
    batches: list[Batch]
    requests: list[bytes]
    """The HTTP requests, one for each batch."""

    @classmethod
    def make(cls, workload: Workload, events: int) -> "Sent":
        """Make events of a workload, new ones each time."""
        return cls.of(workload, batches(workload, events))

    @classmethod
    def of(cls, workload: Workload, made: Iterable[Batch]) -> "Sent":
        """Make the requests of batches."""
        kept = list(made)
        return cls(workload, kept, [request(batch.body()) for batch in kept])

    @property
    def events(self) -> int:
        """The number of events, duplicates included."""
        return sum(len(batch.rows) for batch in self.batches)

    @property
    def new(self) -> int:
        """The number of different events."""
        return sum(batch.new for batch in self.batches)

    def rows(self) -> list[Sequence[Row]]:
        """Return the same events as rows, in batches for a bare database."""
        rows = list(chain.from_iterable(batch.rows for batch in self.batches))
        return [rows[at : at + CEILING_BATCH] for at in range(0, len(rows), CEILING_BATCH)]


async def service(make: MakeDatabase, sent: Sent, aggregators: int = 1) -> Measured:
    """Measure one aggregator on an empty database, or several on the same one."""
    async with make() as database:
        with ExitStack() as stack:
            servers = [
                stack.enter_context(aggregator(database.arguments)) for _ in range(aggregators)
            ]
            measured, _ = await through(servers, sent)
            for server in servers:
                await check(server.port, sent.events, sent.new)
            return measured._replace(bytes_per_event=await database.size() / sent.new)


async def through(servers: Sequence[Server], sent: Sent) -> tuple[Measured, Driven]:
    """Measure running aggregators, which share the connections, without checking their counts."""
    before, own = sum(server.cpu_s() for server in servers), time.process_time()
    driven = await closed_loop(
        [server.port for server in servers], sent.workload.connections, sent.requests
    )
    cpu_s, own = sum(server.cpu_s() for server in servers) - before, time.process_time() - own
    measured = of_driven(driven, sent.events)._replace(
        cpu_s_per_million=cpu_s / sent.events * 1e6,
        generator_cpu_s_per_million=own / sent.events * 1e6,
        resident_mib=sum(server.resident_bytes() for server in servers) / 2**20,
    )
    return measured, driven


async def stats(port: int) -> dict[str, int]:
    """Read the totals of an aggregator; raises `WrongCounts` if it does not answer."""
    (connection,) = await connect([port], 1)
    try:
        status, body = await connection.exchange(get("/stats"))
    finally:
        connection.close()
    if status != 200:
        raise WrongCounts(f"/stats was answered {status}")
    totals: dict[str, int] = json.loads(body)
    return totals


async def check(port: int, received: int, unique: int) -> None:
    """Check that an aggregator has exactly these counts; raises `WrongCounts`."""
    found = await stats(port)
    expected = (received, unique, received - unique)
    counted = tuple(found[name] for name in ("received", "unique_processed", "duplicate_dropped"))
    if counted != expected:
        raise WrongCounts(f"received, unique, duplicates: {counted} were counted, not {expected}")


async def handler(sent: Sent) -> Measured:
    """Measure the bare handler."""
    with bare_handler() as server:
        before = server.cpu_s()
        driven = await closed_loop([server.port], sent.workload.connections, sent.requests)
        cpu_s = server.cpu_s() - before
    return of_driven(driven, sent.events)._replace(cpu_s_per_million=cpu_s / sent.events * 1e6)


async def sqlite(sent: Sent) -> Measured:
    """Measure bare SQLite."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        seconds = bare_sqlite.store(Path(directory) / "bare.db", sent.rows(), sent.new)
    return Measured(sent.events / seconds)


async def postgres(make: MakeDatabase, sent: Sent) -> Measured:
    """Measure bare Postgres."""
    async with make() as database:
        seconds = await bare_postgres.store(database.location, sent.rows(), sent.new)
    return Measured(sent.events / seconds)


def of_driven(driven: Driven, events: int) -> Measured:
    """Return the figures of a load.

    Args:
        driven: the results of its requests.
        events: the number of events in all its requests.

    Raises:
        WrongCounts: an answer is neither 200 nor 503.
    """
    if set(driven.statuses) - {200, 503}:
        raise WrongCounts(f"answers were {dict(driven.statuses)}")
    measured = timed(events / driven.seconds, driven.latencies_s)
    return measured._replace(refused=driven.statuses[503])


def timed(events_s: float, latencies_s: Sequence[float]) -> Measured:
    """Return the figures of a rate and of the latencies of at least two answers."""
    of_1000 = statistics.quantiles(latencies_s, n=1000, method="inclusive")
    return Measured(
        events_s,
        p50_ms=of_1000[499] * 1000,
        p99_ms=of_1000[989] * 1000,
        p999_ms=of_1000[998] * 1000,
        max_ms=max(latencies_s) * 1000,
    )
