"""One measurement: a workload through the service, or through one of its ceilings."""

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from benchmarks import bare_postgres, bare_sqlite
from benchmarks.databases import Database, MakeDatabase
from benchmarks.driving import Driven, closed_loop, connect, get, request
from benchmarks.serving import Server, aggregator, bare_handler
from benchmarks.workload import Batch, Row, Workload, batches

CEILING_BATCH = 2_000
"""Rows in a transaction of a bare database."""


class WrongCounts(Exception):
    """What was measured is not what was sent."""


class Measured(NamedTuple):
    """What came of one measurement; what does not apply is None."""

    events_s: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    cpu_s_per_million: float | None = None
    """Processor time of the aggregator, without the database's own processes."""
    generator_cpu_s_per_million: float | None = None
    resident_mib: float | None = None
    bytes_per_event: float | None = None
    """On disk, by the events stored."""
    refused: int = 0
    """Requests that were answered 503 and sent again."""


class Sent(NamedTuple):
    """A workload, made."""

    workload: Workload
    batches: list[Batch]

    @classmethod
    def make(cls, workload: Workload, events: int) -> "Sent":
        """So many events, new ones each time."""
        return cls(workload, list(batches(workload, events)))

    @property
    def events(self) -> int:
        """How many there are, duplicates included."""
        return sum(len(batch.rows) for batch in self.batches)

    @property
    def new(self) -> int:
        """How many different ones there are."""
        return sum(batch.new for batch in self.batches)

    def requests(self) -> list[bytes]:
        """One for each batch."""
        return [request(batch.body()) for batch in self.batches]

    def rows(self) -> list[Sequence[Row]]:
        """The same events as rows, in batches for a bare database."""
        rows = list(chain.from_iterable(batch.rows for batch in self.batches))
        return [rows[at : at + CEILING_BATCH] for at in range(0, len(rows), CEILING_BATCH)]


async def service(make: MakeDatabase, sent: Sent) -> Measured:
    """Through an aggregator on an empty database."""
    async with make() as database:
        with aggregator(database.arguments) as server:
            return await _through(server, database, sent)


async def _through(server: Server, database: Database, sent: Sent) -> Measured:
    requests = sent.requests()
    before, own = server.cpu_s(), time.process_time()
    driven = await closed_loop(server.port, sent.workload.connections, requests)
    cpu_s, own = server.cpu_s() - before, time.process_time() - own
    resident = server.resident_bytes()
    measured = _measured(driven, sent.events)
    await check(server.port, sent.events, sent.new)
    return measured._replace(
        cpu_s_per_million=cpu_s / sent.events * 1e6,
        generator_cpu_s_per_million=own / sent.events * 1e6,
        resident_mib=resident / 2**20,
        bytes_per_event=await database.size() / sent.new,
    )


async def stats(port: int) -> dict[str, int]:
    """The totals of an aggregator."""
    (connection,) = await connect(port, 1)
    try:
        status, body = await connection.exchange(get("/stats"))
    finally:
        connection.close()
    if status != 200:
        raise WrongCounts(f"/stats was answered {status}")
    totals: dict[str, int] = json.loads(body)
    return totals


async def check(port: int, received: int, unique: int) -> None:
    """Raise `WrongCounts` unless an aggregator counts just this."""
    found = await stats(port)
    expected = (received, unique, received - unique)
    counted = tuple(found[name] for name in ("received", "unique_processed", "duplicate_dropped"))
    if counted != expected:
        raise WrongCounts(f"received, unique, duplicates: {counted} were counted, not {expected}")


async def handler(sent: Sent) -> Measured:
    """Through the bare handler."""
    with bare_handler() as server:
        before = server.cpu_s()
        driven = await closed_loop(server.port, sent.workload.connections, sent.requests())
        cpu_s = server.cpu_s() - before
    return _measured(driven, sent.events)._replace(cpu_s_per_million=cpu_s / sent.events * 1e6)


async def sqlite(sent: Sent) -> Measured:
    """Into bare SQLite."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        seconds = bare_sqlite.store(Path(directory) / "bare.db", sent.rows(), sent.new)
    return Measured(sent.events / seconds)


async def postgres(make: MakeDatabase, sent: Sent) -> Measured:
    """Into bare Postgres."""
    async with make() as database:
        seconds = await bare_postgres.store(database.location, sent.rows(), sent.new)
    return Measured(sent.events / seconds)


def _measured(driven: Driven, events: int) -> Measured:
    if set(driven.statuses) - {200, 503}:
        raise WrongCounts(f"answers were {dict(driven.statuses)}")
    of_1000 = statistics.quantiles(driven.latencies_s, n=1000, method="inclusive")
    return Measured(
        events_s=events / driven.seconds,
        p50_ms=of_1000[499] * 1000,
        p99_ms=of_1000[989] * 1000,
        p999_ms=of_1000[998] * 1000,
        refused=driven.statuses[503],
    )
