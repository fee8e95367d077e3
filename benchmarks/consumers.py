"""Consumers beside those of other systems: each event parsed and acknowledged, or with an effect.

    python -m benchmarks consumers

One consumer takes a log of one topic, and four in one process share it, 100 events at a time:

- of a subscription, over HTTP by hand (`subscription_client`, `lease_client`) and by the library
  (`library_client`);
- of NATS JetStream (`peer_jetstream_settling`), by `ack` and by `ack_sync`, which is confirmed;
- of a stream of Redis (`peer_redis_consuming`), which is synced before each of its answers;
- of a table of Postgres (`peer_skip_locked`), by DELETE and by a column of the status.

Each event is parsed. Then the same again with one effect an event: a row in a table of the
consumer's on Postgres, which has to be there once at the end. What would be there after a crash is
said in the names: once, or at least once. After each run the server's own counts are looked at.
"""

from contextlib import AsyncExitStack
from functools import partial

from benchmarks import peer_jetstream, peer_jetstream_reading, peer_redis
from benchmarks.consuming import AT_ONCE
from benchmarks.databases import sqlite_file
from benchmarks.filled_log import filled
from benchmarks.measuring import Sent
from benchmarks.rounds import Part, Runs, Setting, measure_each
from benchmarks.stored_topic import WORKLOAD
from benchmarks.taking import Take, Taking

COUNTS = (1, 4)
"""Consumers of a run."""

BACKENDS = ("SQLite", "Postgres")

JETSTREAM = {"ack": "JetStream, ack", "double": "JetStream, double ack"}
REDIS = "Redis, XACK"
SKIP_LOCKED = {"delete": "SKIP LOCKED, DELETE", "status": "SKIP LOCKED, a status"}
PEERS = (*JETSTREAM.values(), REDIS, *SKIP_LOCKED.values())

_SHARE = 2
"""One in so many events is taken in a run."""

_ABOUT = (
    'Where it says "at least once", a crash between an effect and its acknowledgement lets it '
    "happen again. JetStream answers before a delivery or an acknowledgement is on the disk, also "
    "a double ack; what the others have answered is there."
)


def leases(backend: str) -> str:
    """Return the name of consumers that lease and settle over HTTP by hand."""
    return f"{backend}, lease and settle"


def library(backend: str) -> str:
    """Return the name of consumers of the library."""
    return f"{backend}, the library"


def named(system: str, consumers: int, *, with_effects: bool) -> str:
    """Return the name of a measurement.

    Args:
        system: who delivers.
        consumers: their number.
        with_effects: each event has an effect.
    """
    counted = "one consumer" if consumers == 1 else f"{consumers} consumers"
    if not with_effects:
        return f"{system}, {counted}"
    once = system in {*map(library, BACKENDS), *SKIP_LOCKED.values()}
    return f"{system}, an insert an event ({'once' if once else 'at least once'}), {counted}"


async def measure(setting: Setting) -> Part:
    """Measure each figure once a round; the order is reversed from round to round."""
    part = Part(setting.say)
    part.notes.append(_ABOUT)
    for system, why in _missing().items():
        for name in _names(system):
            part.miss(name, why)
    async with AsyncExitStack() as stack:
        takes = await _takes(stack, setting)
        runs = _runs(takes)
        for number in range(setting.rounds):
            names = list(runs) if number % 2 == 0 else list(runs)[::-1]
            await measure_each(part, {name: runs[name] for name in names})
    _compare(part)
    return part


def _missing() -> dict[str, str]:
    found = dict.fromkeys(JETSTREAM.values(), peer_jetstream.missing())
    found[REDIS] = peer_redis.missing()
    return {system: why for system, why in found.items() if why}


def _names(system: str) -> list[str]:
    return [named(system, count, with_effects=each) for each in (False, True) for count in COUNTS]


async def _takes(stack: AsyncExitStack, setting: Setting) -> dict[str, Take]:
    """Start and fill every system that is here."""
    events = max(AT_ONCE, setting.events // _SHARE)
    taking = Taking(events, setting.postgres)
    rows = [row for batch in Sent.make(WORKLOAD, events).batches for row in batch.rows]
    takes: dict[str, Take] = {}
    makes = {"SQLite": sqlite_file, "Postgres": setting.postgres}
    for backend in BACKENDS:
        log = await stack.enter_async_context(filled(makes[backend], events))
        takes[leases(backend)] = partial(taking.leases, log)
        takes[library(backend)] = partial(taking.library, log)
    if not peer_jetstream.missing():
        url = stack.enter_context(peer_jetstream.server(sync=False))
        await peer_jetstream_reading.fill(url, rows)
        takes |= {name: partial(taking.jetstream, url, how) for how, name in JETSTREAM.items()}
    if not peer_redis.missing():
        url = stack.enter_context(peer_redis.server())
        await peer_redis.fill(url, rows)
        takes[REDIS] = partial(taking.redis, url)
    return takes | {
        name: partial(taking.skip_locked, rows, how) for how, name in SKIP_LOCKED.items()
    }


def _runs(takes: dict[str, Take]) -> Runs:
    return {
        named(system, count, with_effects=with_effects): partial(
            take, count, with_effects=with_effects
        )
        for with_effects in (False, True)
        for count in COUNTS
        for system, take in takes.items()
    }


def _compare(part: Part) -> None:
    """Compare ours with each peer, and the library with what is written by hand."""
    for with_effects in (False, True):
        for count in COUNTS:
            name = partial(named, consumers=count, with_effects=with_effects)
            for backend in BACKENDS:
                part.compare(name(library(backend)), name(leases(backend)))
                for ours in (leases(backend), library(backend)):
                    for peer in PEERS:
                        part.compare(name(ours), name(peer))
