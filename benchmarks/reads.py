"""Reads beside writes: the throughput of readers while events come in, and their cost to writers.

Half of the events are stored first. Then the other half is sent over 16 connections while four
readers each ask for one thing after the other.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from benchmarks.databases import MakeDatabase, sqlite_file
from benchmarks.driving import Connection, connect, get
from benchmarks.measuring import Measured, Sent, WrongCounts, check, through, timed
from benchmarks.rounds import Part, Setting
from benchmarks.serving import aggregator
from benchmarks.workload import Workload

_READERS = 4
_PAGE = 100
_LARGE_PAGE = 5_000


class Kind(NamedTuple):
    """A kind of read, and the number of topics beside it."""

    name: str
    topics: int
    target: str
    """The path, with `{topic}` and `{after}` where it goes forward; empty to read nothing."""


KINDS = [
    Kind("8 topics, no reads", 8, ""),
    Kind("8 topics, reads of a topic from `after`", 8, "/events?topic={topic}&after={after}"),
    Kind("8 topics, reads of the newest", 8, "/events"),
    Kind("1,000 topics, no reads", 1000, ""),
    Kind("1,000 topics, reads of /stats", 1000, "/stats"),
]


async def measure(part: Part, setting: Setting) -> None:
    """Measure each kind once on each backend, and check the counts and the events that are read."""
    for backend, make in (("SQLite", sqlite_file), ("Postgres", setting.postgres)):
        alone = ""
        for kind in KINDS:
            name = f"{kind.name}: {backend}"
            part.add(name, await _beside(make, kind, setting.events // 2))
            if kind.target:
                part.compare(name, alone)
            else:
                alone = name


async def _beside(make: MakeDatabase, kind: Kind, events: int) -> Measured:
    workload = Workload(topics=kind.topics)
    events = max(events, 2 * workload.batch)
    before, sent = Sent.make(workload, events), Sent.make(workload, events)
    async with make() as database:
        with aggregator(database.arguments) as server:
            await through([server], before)
            async with _readers(server.port, kind) as latencies_s:
                measured, driven = await through([server], sent)
            await check(server.port, before.events + sent.events, before.new + sent.new)
            await _read_all(server.port, kind.topics, before.new + sent.new)
    if not kind.target:
        return measured
    read = timed(len(latencies_s) / driven.seconds, latencies_s)
    return measured._replace(
        reads_s=read.events_s, reads_p50_ms=read.p50_ms, reads_p99_ms=read.p99_ms
    )


@asynccontextmanager
async def _readers(port: int, kind: Kind) -> AsyncIterator[list[float]]:
    """Read while the context lasts; yields the list of the seconds that each read took."""
    latencies_s: list[float] = []
    ended = asyncio.Event()
    opened = await connect([port], _READERS if kind.target else 0)
    try:
        async with asyncio.TaskGroup() as group:
            for number, connection in enumerate(opened):
                topic = f"topic-{number % kind.topics}"
                group.create_task(_read(connection, kind.target, topic, ended, latencies_s))
            try:
                yield latencies_s
            finally:
                # A read under way is waited for: to leave out the slow ones would be a lie.
                ended.set()
    finally:
        for connection in opened:
            connection.close()


async def _read(
    connection: Connection, target: str, topic: str, ended: asyncio.Event, latencies_s: list[float]
) -> None:
    """Yield paths: forward through the topic and from its start again, or always the same."""
    after = 0
    while not ended.is_set():
        asked = target.format(topic=topic, after=after)
        begun = time.perf_counter()
        status, body = await connection.exchange(get(asked))
        if status != 200:
            raise WrongCounts(f"{asked} was answered {status}")
        latencies_s.append(time.perf_counter() - begun)
        found = body.count(b'"offset":')
        after = after + found if found == _PAGE else 0


async def _read_all(port: int, topics: int, expected: int) -> None:
    """Check the number of events that can be read, page by page; raises `WrongCounts`."""
    (connection,) = await connect([port], 1)
    read = 0
    try:
        for topic in range(topics):
            after = 0
            while True:
                target = f"/events?topic=topic-{topic}&after={after}&limit={_LARGE_PAGE}"
                _, body = await connection.exchange(get(target))
                found = body.count(b'"offset":')
                read += found
                after += found
                if found < _LARGE_PAGE:
                    break
    finally:
        connection.close()
    if read != expected:
        raise WrongCounts(f"{read} events could be read, {expected} are stored")
