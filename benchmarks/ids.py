"""The cost of each kind of event id in the index.

    python -m benchmarks.ids                          # both backends: about half an hour
    python -m benchmarks.ids --backend sqlite --runs 3 --events 400000 --topics 1

Appends events to the real stores, commits durable, in batches of 2,000 over all topics in turn,
with a payload of about 150 bytes and no duplicates: the cost of storing. The kinds of id alternate
within a run and every one begins with an empty database, in the directory for temporary files.
Only `append` is timed, over the last fifth of the events before each size. Bytes on disk are those
of the whole database after a checkpoint; those of the index are of UNIQUE (topic, event_id) alone.
Prints the median of the runs, and the least and the greatest.
"""

import argparse
import asyncio
import os
import platform
import sqlite3
import statistics
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from benchmarks.databases import MakeDatabase, postgres_databases, postgres_server, sqlite_file
from publisher.ids import NumberedIds, TimeNodeIds, uuid7
from storage.model import Event
from storage.postgres.store import PostgresStore
from storage.protocols import EventStore
from storage.sqlite.store import SqliteStore

BATCH = 2_000
PAYLOAD = '{"text": "%s", "number": %d}'
KINDS: dict[str, Callable[[], Callable[[], str]]] = {
    "uuid4": lambda: lambda: str(uuid.uuid4()),
    "uuid7": lambda: uuid7,
    "time + node": lambda: TimeNodeIds(1),
    "numbered": NumberedIds,
}


class Size(NamedTuple):
    """The bytes on disk of the whole database, and of the index of the dedup keys."""

    database: int
    key_index: int


class Figures(NamedTuple):
    """The throughput of one stretch of a run, and the bytes per event stored at its end."""

    events_s: float
    database: float
    key_index: float


Opened = tuple[EventStore, Callable[[], Any]]


@asynccontextmanager
async def sqlite_store() -> AsyncIterator[Opened]:
    """Yield an empty SQLite store and a coroutine function that returns its size."""
    async with sqlite_file() as database:

        async def size() -> Size:
            whole = await database.size()
            with closing(sqlite3.connect(database.location)) as connection:
                (name,) = connection.execute(
                    "SELECT name FROM pragma_index_list('events') WHERE origin = 'u'"
                ).fetchone()
                try:
                    (index,) = connection.execute(
                        "SELECT sum(pgsize) FROM dbstat WHERE name = ?", [name]
                    ).fetchone()
                except sqlite3.OperationalError as error:
                    raise SystemExit(f"this SQLite can't tell an index's size: {error}") from error
            return Size(whole, index)

        store = SqliteStore(Path(database.location), busy_timeout_ms=10_000)
        await store.open()
        try:
            yield store, size
        finally:
            await store.aclose()


@asynccontextmanager
async def postgres_store(make: MakeDatabase) -> AsyncIterator[Opened]:
    """Yield an empty Postgres store and a coroutine function that returns its size."""
    async with make() as database:

        async def size() -> Size:
            connection = await asyncpg.connect(database.location)
            try:
                await connection.execute("CHECKPOINT")
                whole = await connection.fetchval("SELECT pg_total_relation_size('events')")
                index = await connection.fetchval(
                    "SELECT pg_relation_size('events_topic_event_id_key')"
                )
            finally:
                await connection.close()
            return Size(whole, index)

        store = PostgresStore(database.location)
        await store.open()
        try:
            yield store, size
        finally:
            await store.aclose()


def batch_of(new_id: Callable[[], str], start: int, topics: int) -> list[Event]:
    """Make the next events in the form of a publisher."""
    now_us = time.time_ns() // 1000
    return [
        Event(
            topic=f"topic-{number % topics}",
            event_id=new_id(),
            timestamp_us=now_us,
            source="benchmark",
            payload=PAYLOAD % ("x" * 120, number),
        )
        for number in range(start, start + BATCH)
    ]


async def measure(
    opened: Opened, new_id: Callable[[], str], ends: list[int], topics: int
) -> list[Figures]:
    """Append events up to the last of `ends`; returns the figures of the last fifth before each."""
    store, size = opened
    stored = 0
    figures = []
    for end in ends:
        timed_from = end - max(BATCH, end // 5 // BATCH * BATCH)
        seconds = 0.0
        while stored < end:
            batch = batch_of(new_id, stored, topics)
            begun = time.perf_counter()
            await store.append(batch)
            took = time.perf_counter() - begun
            seconds += took if stored >= timed_from else 0
            stored += len(batch)
        database, key_index = await size()
        figures.append(Figures((end - timed_from) / seconds, database / end, key_index / end))
    counts = (await store.stats(limit=0)).totals
    if [counts.unique_processed, counts.received] != [stored] * 2:
        raise SystemExit(f"{stored:,} events were appended, the store counts {counts}")
    return figures


def say(line: str = "") -> None:
    """Print a line and flush it, since a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def spread(values: list[float]) -> str:
    """Return the median with the least and the greatest value as text."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


async def compare(
    name: str, database: Callable[[], Any], runs: int, ends: list[int], topics: int
) -> None:
    """Measure every kind `runs` times, in turn, and print a table."""
    taken: dict[tuple[str, int], list[Figures]] = defaultdict(list)
    for run in range(runs):
        for kind, make in KINDS.items():
            async with database() as opened:
                for end, figures in zip(
                    ends, await measure(opened, make(), ends, topics), strict=True
                ):
                    taken[kind, end].append(figures)
            say(f"  {name} run {run + 1} {kind}: {taken[kind, ends[-1]][-1]}")
    say(f"\n| {name} | stored | bytes an event | of these in the key index | events/s |")
    say("|---|---|---|---|---|")
    for (kind, end), each in sorted(taken.items(), key=lambda item: item[0][1]):
        events_s, disk, index = (list(column) for column in zip(*each, strict=True))
        say(f"| {kind} | {end:,} | {spread(disk)} | {spread(index)} | {spread(events_s)} |")
    say()


async def main() -> None:
    """Run the measurement that the command line describes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--events", type=int, default=1_000_000, help="stored at the end")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--topics", type=int, default=8)
    parser.add_argument("--dsn", help="a Postgres server, in place of one started here")
    options = parser.parse_args()
    ends = [options.events // 5 // BATCH * BATCH, options.events // BATCH * BATCH]
    say(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores; topics: {options.topics}\n"
    )
    if options.backend != "postgres":
        await compare("SQLite", sqlite_store, options.runs, ends, options.topics)
    if options.backend != "sqlite":
        with postgres_server(options.dsn) as dsn:
            connection = await asyncpg.connect(dsn)
            version = (await connection.fetchval("SHOW server_version")).split()[0]
            await connection.close()
            await compare(
                f"Postgres {version}",
                lambda: postgres_store(postgres_databases(dsn)),
                options.runs,
                ends,
                options.topics,
            )


if __name__ == "__main__":
    asyncio.run(main())
