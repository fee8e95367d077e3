"""The processor time per event of this checkout and of another one, over all processes.

    python -m benchmarks processor --against ../before --rounds 15

A few per cent are lost in the noise of events a second, but not in that of processor time: it does
not count what neighbours on the machine take. Both checkouts run with this Python and its packages
(the other one with its own, if it has a `.venv`), in turn and on the same events; which of them
goes first changes from round to round. Counted are
the aggregator, the process that writes SQLite, and all processes of the Postgres server.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import asyncpg
import psutil

from benchmarks.databases import Database, MakeDatabase, sqlite_file
from benchmarks.measuring import Measured, Sent, check, through
from benchmarks.rounds import Part, Setting, measure_each
from benchmarks.serving import OWN_CHECKOUT, aggregator
from benchmarks.standard import (
    BATCHES,
    POSTGRES,
    POSTGRES_SINGLE,
    SINGLE,
    SQLITE,
    SQLITE_SINGLE,
    single_events,
)

BACKENDS = ((SQLITE, SQLITE_SINGLE), (POSTGRES, POSTGRES_SINGLE))
"""The measurements of each checkout: events in batches, and single events."""

NAMES = [name for names in BACKENDS for name in names]

CpuSeconds = Callable[[], float]
"""Returns the processor time that processes have used so far, in seconds."""


def before(name: str) -> str:
    """Return the name of the other checkout's measurement."""
    return f"{name}, the other checkout"


async def measure(setting: Setting) -> Part:
    """Measure both checkouts once a round, in turn."""
    part = Part(setting.say)
    if setting.against is None:
        for name in NAMES:
            part.miss(
                name, "there is nothing to compare with: name a checkout, --against DIRECTORY"
            )
        return part
    for number in range(setting.rounds):
        batches = Sent.make(BATCHES, setting.events)
        single = Sent.make(SINGLE, single_events(setting.events))
        for names in BACKENDS:
            on_sqlite = SQLITE in names
            make = sqlite_file if on_sqlite else setting.postgres
            of_database = sqlite_alone if on_sqlite else postgres_server
            for name, sent in zip(names, (batches, single), strict=True):
                runs: dict[str, Callable[[], Awaitable[Measured]]] = {
                    name: partial(_service, OWN_CHECKOUT, make, of_database, sent),
                    before(name): partial(_service, setting.against, make, of_database, sent),
                }
                order = list(runs) if number % 2 == 0 else list(reversed(runs))
                await measure_each(part, {each: runs[each] for each in order})
    for name in NAMES:
        part.compare(name, before(name))
    return part


async def _service(
    checkout: Path,
    make: MakeDatabase,
    database_cpu_s: Callable[[Database], Awaitable[CpuSeconds]],
    sent: Sent,
) -> Measured:
    async with make() as database:
        of_database = await database_cpu_s(database)
        with aggregator(database.arguments, checkout) as server:
            started_s = server.cpu_s() + of_database()
            measured, _ = await through([server], sent)
            cpu_s = server.cpu_s() + of_database() - started_s
            await check(server.port, sent.events, sent.new)
    return measured._replace(all_cpu_s_per_million=cpu_s / sent.events * 1e6)


async def sqlite_alone(_database: Database) -> CpuSeconds:
    """Return the processor time of SQLite beside the aggregator: none."""
    # Its file is written by a child of the aggregator, which is counted there.
    return lambda: 0.0


async def postgres_server(database: Database) -> CpuSeconds:
    """Return the processor time of all processes of the Postgres server."""
    connection = await asyncpg.connect(database.location)
    try:
        backend = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
        postmaster = backend.parent()
    finally:
        await connection.close()
    if postmaster is None:
        raise RuntimeError("the Postgres server does not run on this machine")
    return partial(_family_cpu_s, postmaster)


def _family_cpu_s(parent: psutil.Process) -> float:
    """Return the time of a process, its children, and those of its children that have ended."""
    own = parent.cpu_times()
    seconds = own.user + own.system + own.children_user + own.children_system
    for child in parent.children():
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system
    return float(seconds)
