"""Subscriptions: lease and settle beside JetStream, eight consumers, publishing, and a large log.

    python -m benchmarks subscriptions

Consumers are a process of their own that parses every event. One takes a topic by 100 and by 1,000
at a time, by leases that carry the settle of the one before, by a request for each lease and each
settle, and with `order: "none"` and the next lease asked for ahead. A pull consumer of JetStream
from Python takes as many a fetch, and acknowledges each message. Eight consumers share a
subscription with `order: "none"`, which one takes as well. The standard workload is published while
a subscription follows, and alone. And one consumer takes events from the middle of a log of
millions (`--stored` before it and as many behind it), whose first half the subscription has
acknowledged. After each run the counts of the subscription are what its consumers have settled.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from benchmarks import child, peer_jetstream, peer_jetstream_reading
from benchmarks.databases import Database, MakeDatabase, sqlite_file
from benchmarks.filled_log import filled
from benchmarks.measuring import Measured, Sent, check, through
from benchmarks.rounds import Part, Runs, Setting, measure_each
from benchmarks.serving import aggregator
from benchmarks.standard import BATCHES
from benchmarks.stored_topic import TOPIC, WORKLOAD
from benchmarks.subscription_consuming import Consumed
from benchmarks.subscription_following import Following
from benchmarks.waiting import publish

BACKENDS = ("SQLite", "Postgres")

AT_ONCE = (100, 1_000)
"""Events of a lease, and messages of a fetch."""

BEST_PEER = "JetStream, explicit acks, the better of both"
PUBLISHING = "publishing in batches of 100"
FOLLOWED = f"{PUBLISHING}, a subscription follows"
SETTLED = f"{FOLLOWED}, until the last event is settled"

_COMPETING_AT_ONCE = 100
_SKIPPED_AT_ONCE = 10_000
_SHARE, _PEER_SHARE = 2, 4
"""One in so many events is taken in a run."""

_FROM_START = {"topics": [TOPIC], "from": "start"}


def on(backend: str, what: str) -> str:
    """Return the name of a measurement."""
    return f"{backend}, {what}"


def carried(at_once: int) -> str:
    """Return the name of one consumer whose leases carry the settle of the one before."""
    return f"{at_once:,} at a time"


def turns(at_once: int) -> str:
    """Return the name of one consumer that leases, settles and leases again."""
    return f"{carried(at_once)}, a request for each lease and each settle"


def ahead(at_once: int) -> str:
    """Return the name of one consumer that asks for a lease before it parses the one before."""
    return f'{carried(at_once)}, order "none", the next lease asked for ahead'


def competing(consumers: int) -> str:
    """Return the name of so many consumers for whom no order is kept."""
    counted = "one consumer" if consumers == 1 else f"{consumers} consumers"
    return f'{carried(_COMPETING_AT_ONCE)}, order "none", {counted}'


def in_the_middle(at_once: int, around: int) -> str:
    """Return the name of one consumer with so many events before it and behind it."""
    return f"{carried(at_once)}, {around:,} events before and {around:,} behind"


def peer(at_once: int) -> str:
    """Return the name of the consumer of JetStream."""
    return f"JetStream, explicit acks, {at_once:,} a fetch"


async def measure(setting: Setting) -> Part:
    """Measure each figure once a round; the order is reversed from round to round."""
    part = Part(setting.say)
    all_makes = {"SQLite": sqlite_file, "Postgres": setting.postgres}
    makes = {backend: all_makes[backend] for backend in BACKENDS}
    async with AsyncExitStack() as stack:
        runs = await _peers(part, stack, setting)
        for backend, make in makes.items():
            log = await stack.enter_async_context(_stored(make, _taken(setting)))
            middle = await stack.enter_async_context(_half_taken(make, setting))
            runs |= _consuming(backend, log, middle, setting)
        for number in range(setting.rounds):
            await measure_each(part, _in_turn(runs, number))
            _add_best_peer(part)
    for number in range(setting.rounds):
        for backend, make in makes.items():
            await measure_each(part, _publishing(backend, make, setting, number))
    _compare(part, setting)
    return part


def _taken(setting: Setting) -> int:
    return max(2 * max(AT_ONCE), setting.events // _SHARE)


def _in_turn(runs: Runs, number: int) -> Runs:
    return runs if number % 2 == 0 else dict(reversed(list(runs.items())))


async def _peers(
    part: Part, stack: AsyncExitStack, setting: Setting
) -> dict[str, Callable[[], Awaitable[Measured]]]:
    if why := peer_jetstream.missing():
        for name in (*map(peer, AT_ONCE), BEST_PEER):
            part.miss(name, why)
        return {}
    messages = max(*AT_ONCE, setting.events // _PEER_SHARE)
    sent = Sent.make(WORKLOAD, messages)
    url = stack.enter_context(peer_jetstream.server(sync=False))
    rows = [row for batch in sent.batches for row in batch.rows]
    await peer_jetstream_reading.fill(url, rows)
    return {peer(at_once): partial(_peer, url, messages, at_once) for at_once in AT_ONCE}


async def _peer(url: str, messages: int, at_once: int) -> Measured:
    ended = await child.run("peer_jetstream_consuming", url, messages, at_once)
    return Measured(
        messages / ended["seconds"], generator_cpu_s_per_million=ended["cpu_s"] / messages * 1e6
    )


def _add_best_peer(part: Part) -> None:
    rounds = [
        part.measurements[name][-1] for name in map(peer, AT_ONCE) if name not in part.missing
    ]
    if rounds:
        part.add(BEST_PEER, max(rounds, key=lambda measured: measured.events_s))


@asynccontextmanager
async def _stored(make: MakeDatabase, events: int) -> AsyncIterator[Database]:
    """Make a database with one topic that holds so many events."""
    async with make() as database:
        with aggregator(database.arguments) as server:
            await through([server], Sent.make(WORKLOAD, events))
            await check(server.port, events, events)
        yield database


@asynccontextmanager
async def _half_taken(make: MakeDatabase, setting: Setting) -> AsyncIterator[Consumed]:
    """Make a large log, and take the first half of it."""
    behind = max(setting.stored, setting.rounds * len(AT_ONCE) * _taken(setting))
    async with filled(make, setting.stored + behind) as database:
        consumed = Consumed(database, setting.stored + behind, _FROM_START)
        await consumed.consume(setting.stored, _SKIPPED_AT_ONCE)
        yield consumed


def _consuming(backend: str, log: Database, middle: Consumed, setting: Setting) -> Runs:
    events = _taken(setting)
    runs = {}
    for at_once in AT_ONCE:
        runs[on(backend, carried(at_once))] = partial(_all, log, events, at_once)
        runs[on(backend, in_the_middle(at_once, setting.stored))] = partial(
            middle.consume, events, at_once
        )
        runs[on(backend, turns(at_once))] = partial(_all, log, events, at_once, how="turns")
        runs[on(backend, ahead(at_once))] = partial(
            _all, log, events, at_once, how="ahead", order="none"
        )
    for consumers in (1, 8):
        runs[on(backend, competing(consumers))] = partial(
            _all, log, events, _COMPETING_AT_ONCE, consumers, order="none"
        )
    return runs


async def _all(
    log: Database,
    events: int,
    at_once: int,
    consumers: int = 1,
    how: str = "carried",
    order: str = "topic",
) -> Measured:
    """Take the whole topic by a new subscription."""
    consumed = Consumed(log, events, _FROM_START | {"order": order})
    return await consumed.consume(events, at_once, consumers, how)


def _publishing(backend: str, make: MakeDatabase, setting: Setting, number: int) -> Runs:
    sent = Sent.make(BATCHES, setting.events)
    following = Following(make, sent)
    runs: Runs = {
        on(backend, PUBLISHING): partial(publish, make, sent),
        on(backend, FOLLOWED): following.publish,
        on(backend, SETTLED): following.settled,
    }
    # What was settled is known when it was published.
    names = [PUBLISHING, FOLLOWED, SETTLED] if number % 2 == 0 else [FOLLOWED, SETTLED, PUBLISHING]
    return {name: runs[name] for name in (on(backend, what) for what in names)}


def _compare(part: Part, setting: Setting) -> None:
    for backend in BACKENDS:
        for at_once in AT_ONCE:
            for name in (turns(at_once), carried(at_once), ahead(at_once)):
                part.compare(on(backend, name), BEST_PEER)
            part.compare(
                on(backend, in_the_middle(at_once, setting.stored)), on(backend, carried(at_once))
            )
        part.compare(on(backend, competing(8)), on(backend, competing(1)))
        part.compare(on(backend, FOLLOWED), on(backend, PUBLISHING))
        part.compare(on(backend, SETTLED), on(backend, FOLLOWED))
