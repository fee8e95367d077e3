"""Streams: one reader, 200 readers, ten thousand idle ones, and how soon an event comes.

    python -m benchmarks streams

One reader from the start of a topic beside one of NDJSON. 200 readers of one topic, from its start
and at its head while it is published to, beside a bare asyncio server that writes the same pieces
to 200 sockets (at the head beside an aggregator that takes the same events, and alone). Publishing
with 10,000 idle streams open, and without. The memory of an idle stream. And one publisher, one
event at a time: how long it waits for its answer, and a reader of the topic for the event.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import child, stream_fanout
from benchmarks import stream_idling as idle
from benchmarks.databases import MakeDatabase, sqlite_file
from benchmarks.measuring import Measured, Sent, check, through
from benchmarks.rounds import Part, Runs, Setting, measure_each
from benchmarks.serving import Server, aggregator
from benchmarks.standard import BATCHES
from benchmarks.stored_topic import TOPIC, WORKLOAD
from benchmarks.stream_delays import Delays

BACKENDS = ("SQLite", "Postgres")

STREAM = "one topic from its start, a stream"
LINES = "one topic from its start, NDJSON"
FROM_START = "200 streams from the start of a topic"
AT_HEAD = "200 streams at the head of a topic"
PUBLISHING = "publishing in batches of 100"
BESIDE_IDLE = f"{PUBLISHING}, 10,000 idle streams"
IDLE = "5,000 idle streams"
ANSWER = "one event at a time, until the publisher has its answer"
EVENT = "one event at a time, until a reader has the event"

_EACH = 4
"""One in so many events of a measurement is read by 200 streams."""

_SINGLE = 200
"""One in so many is published alone."""


def on(backend: str, what: str) -> str:
    """Return the name of a measurement."""
    return f"{backend}, {what}"


def bare(backend: str, what: str) -> str:
    """Return the name of the ceiling: a bare server that writes the pieces that were written."""
    return f"bare asyncio server, {what} on {backend}"


def bare_alone(backend: str) -> str:
    """Return the name of the same at the head, without the publishing beside it."""
    return f"{bare(backend, AT_HEAD)}, nothing is published"


async def measure(setting: Setting) -> Part:
    """Measure each figure once a round, beside what it is compared with."""
    part = Part(setting.say)
    makes = {"SQLite": sqlite_file, "Postgres": setting.postgres}
    with tempfile.TemporaryDirectory(prefix="bench-streams-") as directory:
        record = Path(directory) / "record"
        for backend in BACKENDS:
            make = makes[backend]
            async with (
                _stored(make, setting.events) as whole,
                _stored(make, _of_each(setting)) as quarter,
            ):
                for number in range(setting.rounds):
                    await measure_each(part, _in_turn(_one_reader(backend, whole), number))
                    await measure_each(part, _many_readers(backend, quarter, record))
            for number in range(setting.rounds):
                await measure_each(part, _at_head(backend, make, setting, record))
                await measure_each(part, _in_turn(_publishing(backend, make, setting), number))
                await measure_each(part, _idle_and_alone(backend, make, setting))
    _compare(part)
    return part


def _compare(part: Part) -> None:
    for backend in BACKENDS:
        part.compare(on(backend, STREAM), on(backend, LINES))
        for what in (FROM_START, AT_HEAD):
            part.compare(on(backend, what), bare(backend, what))
        part.compare(on(backend, AT_HEAD), bare_alone(backend))
        part.compare(on(backend, BESIDE_IDLE), on(backend, PUBLISHING))


def _of_each(setting: Setting) -> int:
    return max(2 * WORKLOAD.batch, setting.events // _EACH)


def _in_turn(runs: Runs, number: int) -> Runs:
    return runs if number % 2 == 0 else dict(reversed(list(runs.items())))


class Topic(NamedTuple):
    """An aggregator with one topic, and the number of its events."""

    server: Server
    events: int


@asynccontextmanager
async def _stored(make: MakeDatabase, events: int) -> AsyncIterator[Topic]:
    async with make() as database:
        with aggregator(database.arguments) as server:
            await through([server], Sent.make(WORKLOAD, events))
            await check(server.port, events, events)
            yield Topic(server, events)


def _one_reader(backend: str, stored: Topic) -> Runs:
    return {
        on(backend, STREAM): partial(_read, stored, "stream"),
        on(backend, LINES): partial(_read, stored, "lines"),
    }


async def _read(stored: Topic, how: str) -> Measured:
    server, events = stored
    cpu_s = server.cpu_s()
    ended = await child.run("stream_client", server.port, TOPIC, events, how)
    return Measured(
        events / ended["seconds"],
        cpu_s_per_million=(server.cpu_s() - cpu_s) / events * 1e6,
        generator_cpu_s_per_million=ended["cpu_s"] / events * 1e6,
    )


def _many_readers(backend: str, stored: Topic, record: Path) -> Runs:
    server, events = stored
    return {
        on(backend, FROM_START): partial(stream_fanout.from_start, server, events, record),
        bare(backend, FROM_START): partial(stream_fanout.bare_from_start, events, record),
    }


def _at_head(backend: str, make: MakeDatabase, setting: Setting, record: Path) -> Runs:
    sent = Sent.make(WORKLOAD, _of_each(setting))
    return {
        on(backend, AT_HEAD): partial(stream_fanout.at_head, make, sent, record),
        bare(backend, AT_HEAD): partial(stream_fanout.bare_beside_publishing, make, sent, record),
        bare_alone(backend): partial(stream_fanout.bare_at_head, sent, record),
    }


def _publishing(backend: str, make: MakeDatabase, setting: Setting) -> Runs:
    sent = Sent.make(BATCHES, setting.events)
    return {
        on(backend, PUBLISHING): partial(idle.publish, make, sent, 0),
        on(backend, BESIDE_IDLE): partial(idle.publish, make, sent, idle.STREAMS),
    }


def _idle_and_alone(backend: str, make: MakeDatabase, setting: Setting) -> Runs:
    alone = Delays(make, max(2, setting.events // _SINGLE))
    return {
        on(backend, IDLE): partial(idle.memory, make),
        on(backend, ANSWER): alone.to_answer,
        on(backend, EVENT): alone.to_event,
    }
