"""Growth: throughput, latency, memory and bytes on disk while millions of events go in.

The standard workload, once with UUIDv4 and once with time-ordered ids, each through an aggregator
of its own. A piece goes into the one, the next into the other, so that both have the same machine;
only one is driven at a time. At every million stored, pieces into a database that is empty are
measured between them: "empty" measured minutes earlier would be another machine.

Events are made between the pieces, outside the time that is measured. Meanwhile the aggregators
rest, and what a database does on its own (autovacuum, a checkpoint) may get done then. An empty
database of Postgres begins with a checkpoint of the whole server, after which the others log whole
pages again: that is part of their figures.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import islice

from benchmarks.databases import Database, MakeDatabase, sqlite_file
from benchmarks.driving import Driven, merged
from benchmarks.measuring import Measured, Sent, check, of_driven, through
from benchmarks.rounds import Part, Setting
from benchmarks.serving import Server, aggregator
from benchmarks.workload import Workload, batches

BACKENDS = ("SQLite", "Postgres")
KINDS_OF_ID = ("uuid4", "uuid7")

_STEP, _PIECE, _FIRST = 1_000_000, 200_000, 100_000


def first(backend: str, ids: str, events: int) -> str:
    """Return the name of the measurement of the first events."""
    return f"{backend}, {ids}, the first {events:,}"


def stored(backend: str, ids: str, count: int) -> str:
    """Return the name of the pieces that were sent with that number of events stored."""
    return f"{backend}, {ids}, with {count:,} stored"


def empty_beside(backend: str, ids: str, count: int) -> str:
    """Return the name of the pieces that were sent to an empty database at that time."""
    return f"{backend}, {ids}, empty, beside {count:,} stored"


def stretch_to(backend: str, ids: str, count: int) -> str:
    """Return the name of the measurement from the last step to this one."""
    return f"{_up_to(backend, ids)}{count:,} stored"


def _up_to(backend: str, ids: str) -> str:
    return f"{backend}, {ids}, up to "


def stretches(part: Part, backend: str, ids: str) -> dict[int, Measured]:
    """Return the measurement of each stretch by the events stored at its end, ascending."""
    before = _up_to(backend, ids)
    return {
        int(name.removeprefix(before).split()[0].replace(",", "")): each[0]
        for name, each in part.measurements.items()
        if name.startswith(before)
    }


def steps(total: int) -> list[int]:
    """Return the steps in events stored: every million, or every fifth if that is less."""
    step = min(_STEP, max(1, total // 5))
    return list(range(step, total + 1, step))


class _Growing:
    """A database that grows, its aggregator, and its measurements."""

    def __init__(self, ids: str, database: Database, server: Server) -> None:
        self._workload = Workload(ids=ids)
        self._batches = batches(self._workload, sys.maxsize)
        self._database = database
        self._server = server
        self._received = 0
        self._stretch: list[Driven] = []
        self._stretch_events = 0
        self._cpu_s = server.cpu_s()
        self.stored = 0

    async def send(self, events: int) -> Measured:
        """Make the next events, at least two requests of them."""
        requests = max(2, events // self._workload.batch)
        sent = Sent.of(self._workload, islice(self._batches, requests))
        measured, driven = await through([self._server], sent)
        self._received += sent.events
        self.stored += sent.new
        self._stretch.append(driven)
        self._stretch_events += sent.events
        return measured

    async def check(self) -> None:
        """Check that exactly the events sent are counted; raises `WrongCounts`."""
        await check(self._server.port, self._received, self.stored)

    async def end_stretch(self) -> Measured:
        """Return the measurement of everything sent since the last call; raises `WrongCounts`."""
        await self.check()
        cpu_s = self._server.cpu_s()
        measured = of_driven(merged(self._stretch), self._stretch_events)._replace(
            cpu_s_per_million=(cpu_s - self._cpu_s) / self._stretch_events * 1e6,
            resident_mib=self._server.resident_bytes() / 2**20,
            bytes_per_event=await self._database.size_now() / self.stored,
        )
        self._stretch, self._stretch_events, self._cpu_s = [], 0, cpu_s
        return measured


@asynccontextmanager
async def _growing(make: MakeDatabase, ids: str) -> AsyncIterator[_Growing]:
    async with make() as database:
        with aggregator(database.arguments) as server:
            yield _Growing(ids, database, server)


async def measure(setting: Setting) -> Part:
    """Measure databases that grow to `setting.stored`, first SQLite, then Postgres."""
    part = Part(setting.say)
    for backend, make in zip(BACKENDS, (sqlite_file, setting.postgres), strict=True):
        await _grow(part, backend, make, setting)
    return part


async def _grow(part: Part, backend: str, make: MakeDatabase, setting: Setting) -> None:
    ends = steps(setting.stored)
    # What goes in at a step is less than what goes in until the next.
    piece = min(_PIECE, ends[0] // setting.rounds)
    async with AsyncExitStack() as stack:
        grown = {ids: await stack.enter_async_context(_growing(make, ids)) for ids in KINDS_OF_ID}
        events = min(_FIRST, piece)
        for ids, growing in grown.items():
            await growing.send(events)
            part.add(first(backend, ids, events), await growing.end_stretch())
        for end in ends:
            while behind := [each for each in grown.values() if each.stored < end]:
                for growing in behind:
                    await growing.send(min(piece, _left(growing, end)))
            for ids, growing in grown.items():
                part.add(stretch_to(backend, ids, end), await growing.end_stretch())
            await _beside_empty(part, backend, make, setting.rounds, grown, end, piece)
            for growing in grown.values():
                await growing.check()
            part.compare(stored(backend, "uuid7", end), empty_beside(backend, "uuid7", end))
            part.compare(stored(backend, "uuid4", end), stored(backend, "uuid7", end))


async def _beside_empty(
    part: Part,
    backend: str,
    make: MakeDatabase,
    rounds: int,
    grown: dict[str, _Growing],
    end: int,
    piece: int,
) -> None:
    async def empty() -> Measured:
        async with _growing(make, "uuid7") as growing:
            measured = await growing.send(piece)
            await growing.check()
        return measured

    # What goes into those that grow is the beginning of the next stretch.
    runs: dict[str, Callable[[], Awaitable[Measured]]] = {
        stored(backend, ids, end): partial(growing.send, piece) for ids, growing in grown.items()
    }
    runs[empty_beside(backend, "uuid7", end)] = empty
    names = list(runs)
    for _ in range(rounds):
        for name in names:
            part.add(name, await runs[name]())
        # What one leaves the disk to do, the next may wait for: it is another's turn to be that.
        names = names[1:] + names[:1]


def _left(growing: _Growing, end: int) -> int:
    """Return the number of events to send until so many are stored, duplicates included."""
    return int((end - growing.stored) / (1 - Workload().duplicates)) + 1
