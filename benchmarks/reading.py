"""Reading a topic from its start, waiting for what comes, and what both cost those who publish.

    python -m benchmarks reading --against ../before

The events of one topic are read by a client in a process of its own that parses every one of them,
by one that parses nothing (the server's side alone), by a JetStream consumer, and from a bare
database. Then publishing is measured beside the other checkout's and with 1,000 waits open, and
memory while 20 clients read payloads of 1 MiB.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks import child, page_walk, peer_jetstream, read_memory, waiting
from benchmarks.databases import MakeDatabase, sqlite_file
from benchmarks.measuring import Measured, Sent
from benchmarks.page_walk import Page
from benchmarks.rounds import Part, Setting, measure_each
from benchmarks.serving import OWN_CHECKOUT, Server
from benchmarks.standard import BATCHES
from benchmarks.stored_topic import TOPIC, StoredTopic, store

BACKENDS = ("SQLite", "Postgres")
JETSTREAM = "JetStream, pull consumer, parsed"

WAYS = {
    "pages": "pages of 5,000, parsed",
    "lines": "NDJSON, parsed line by line",
    "blocks": "NDJSON, parsed in blocks of lines",
}
"""How the client reads that parses every event, as `reading_client` calls it."""

PARSED = WAYS["blocks"]

WALKS = {
    "pages of 5,000, not parsed": (5_000, 1, 0.5),
    "pages of 1,000, not parsed": (1_000, 1, 0.25),
    "pages of 100, not parsed": (100, 1, 0.1),
    "pages of 5,000, not parsed, 19 connections": (5_000, 19, 0.5),
}
"""Events in a page, connections, and the share of the events that is read."""

SERVER_SIDE = next(iter(WALKS))
PUBLISHING = "publishing in batches of 100"
QUIET_WAITS = f"{PUBLISHING}, 1,000 waits for other topics"
BUSY_WAITS = f"{PUBLISHING}, 1,000 waits for the same topics"
MEMORY = {
    "pages": "20 clients read 1 MiB payloads, pages",
    "lines": "20 clients read 1 MiB payloads, NDJSON",
}

_MORE_READERS = {"SQLite": (), "Postgres": ("--postgres-readers", "12")}
"""Options that let more reads go on at once while memory is measured."""

_PAYLOADS = 16
_PAYLOADS_PER_EVENT = 0.001
"""For a short run, which has fewer."""

_OWN = 0
"""The place of this checkout among those whose aggregators are read."""

Runs = dict[str, Callable[[], Awaitable[Measured]]]
Pages = tuple[list[list[Page]], Mapping[Page, int]]
"""The pages of each connection, and the length of each in bytes."""


def on(backend: str, what: str) -> str:
    """Return the name of a measurement."""
    return f"{backend}, {what}"


def before(name: str) -> str:
    """Return the name of the other checkout's measurement."""
    return f"{name}, the other checkout"


def bare(backend: str) -> str:
    """Return the name of the ceiling: rows selected and built into lines of JSON."""
    return f"bare {backend}, lines built"


def bare_parsed(backend: str) -> str:
    """Return the name of the same by a process that parses the lines as well."""
    return f"bare {backend}, lines built and parsed"


async def measure(setting: Setting) -> Part:
    """Measure each figure once a round; the order is reversed from round to round."""
    part = Part(setting.say)
    makes = _makes(setting)
    messages = max(1, setting.events // 4)
    if why := peer_jetstream.missing():
        part.miss(JETSTREAM, why)
        messages = 0
    if setting.against is None:
        for name in _compared():
            part.miss(
                before(name),
                "there is nothing to compare with: name a checkout, --against DIRECTORY",
            )
    async with store(makes, _checkouts(setting), setting.events, messages) as stored:
        reads = await _reads(stored)
        for number in range(setting.rounds):
            await measure_each(part, _in_turn(reads, number))
    for number in range(setting.rounds):
        await measure_each(part, _in_turn(_writes(makes, setting), number))
    _compare(part)
    return part


def _makes(setting: Setting) -> dict[str, MakeDatabase]:
    makes = {"SQLite": sqlite_file, "Postgres": setting.postgres}
    return {backend: makes[backend] for backend in BACKENDS}


def _checkouts(setting: Setting) -> list[Path]:
    return [OWN_CHECKOUT, *([] if setting.against is None else [setting.against])]


def _compared() -> list[str]:
    return [on(backend, what) for backend in BACKENDS for what in (*WALKS, PUBLISHING)]


def _in_turn(runs: Runs, number: int) -> Runs:
    return runs if number % 2 == 0 else dict(reversed(runs.items()))


def _compare(part: Part) -> None:
    for name in _compared():
        part.compare(name, before(name))
    for backend in BACKENDS:
        for way in WAYS.values():
            for ceiling in (bare(backend), bare_parsed(backend), JETSTREAM):
                part.compare(on(backend, way), ceiling)
        for waits in (QUIET_WAITS, BUSY_WAITS):
            part.compare(on(backend, waits), on(backend, PUBLISHING))


async def _reads(stored: StoredTopic) -> Runs:
    runs: Runs = {}
    events = stored.events
    for backend in BACKENDS:
        server = stored.servers[backend, _OWN]
        runs[bare(backend)] = partial(_bare, backend, stored, "build")
        for way, name in WAYS.items():
            runs[on(backend, name)] = partial(_parsed, server, way, events)
        runs[bare_parsed(backend)] = partial(_bare, backend, stored, "parse")
    if stored.jetstream is not None:
        runs[JETSTREAM] = partial(_jetstream, *stored.jetstream)
    for what, (limit, connections, share) in WALKS.items():
        pages = page_walk.split(max(1, int(events * share)), limit, connections)
        known: dict[int, Mapping[Page, int]] = {}
        for (backend, checkout), server in stored.servers.items():
            if checkout not in known:
                # Those of the other backend are as long: their events differ in nothing but digits.
                all_pages = [page for each in pages for page in each]
                known[checkout] = await page_walk.lengths(server.port, TOPIC, all_pages)
            name = on(backend, what)
            runs[name if checkout == _OWN else before(name)] = partial(
                _walk, server, (pages, known[checkout])
            )
    return runs


async def _parsed(server: Server, way: str, events: int) -> Measured:
    cpu_s = server.cpu_s()
    ended = await child.run("reading_client", server.port, TOPIC, events, way)
    return _of_reader(ended, events)._replace(
        cpu_s_per_million=(server.cpu_s() - cpu_s) / events * 1e6
    )


async def _bare(backend: str, stored: StoredTopic, how: str) -> Measured:
    ended = await child.run(
        "bare_reading", backend.lower(), stored.bare[backend], stored.events, how
    )
    return _of_reader(ended, stored.events)


async def _jetstream(url: str, messages: int) -> Measured:
    return _of_reader(await child.run("peer_jetstream_reading", url, messages), messages)


def _of_reader(ended: Mapping[str, float], events: int) -> Measured:
    return Measured(
        events / ended["seconds"], generator_cpu_s_per_million=ended["cpu_s"] / events * 1e6
    )


async def _walk(server: Server, pages: Pages) -> Measured:
    readers, known = pages
    events = sum(page.limit for page in known)
    cpu_s = server.cpu_s()
    seconds = await page_walk.walk(server.port, TOPIC, readers, known)
    return Measured(events / seconds, cpu_s_per_million=(server.cpu_s() - cpu_s) / events * 1e6)


def _writes(makes: Mapping[str, MakeDatabase], setting: Setting) -> Runs:
    runs: Runs = {}
    # Half of the events: they are published three times on each backend.
    sent = Sent.make(BATCHES, max(2 * BATCHES.batch, setting.events // 2))
    # Each flush answers and renews 1,000 waits: a tenth of the events takes as long, and longer.
    few = Sent.make(BATCHES, max(2 * BATCHES.batch, setting.events // 20))
    topics = [f"topic-{number}" for number in range(BATCHES.topics)]
    payloads = max(1, min(_PAYLOADS, int(setting.events * _PAYLOADS_PER_EVENT)))
    for backend, make in makes.items():
        published = on(backend, PUBLISHING)
        if setting.against is not None:
            runs[before(published)] = partial(waiting.publish, make, sent, setting.against)
        runs[published] = partial(waiting.publish, make, sent)
        beside = partial(waiting.publish_beside_waits, make)
        runs[on(backend, QUIET_WAITS)] = partial(beside, sent, waiting.QUIET)
        runs[on(backend, BUSY_WAITS)] = partial(beside, few, topics)
        for how, memory in MEMORY.items():
            runs[on(backend, memory)] = partial(
                read_memory.measure, make, payloads, how, _MORE_READERS[backend]
            )
    return runs
