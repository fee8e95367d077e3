"""The library beside a consumer that is written by hand, in processor time an event.

    python -m benchmarks library --rounds 15

One consumer takes a log of one topic, 100 events at a time, and looks at each payload:

- by hand, with aiohttp: a request for each lease and for each settle, in turns;
- by hand, with leases that carry the settle of the one before;
- by the library: `run`, a loop over deliveries, `run_batches`.

Counted are the consumer, the aggregator, and the database server, whatever waits for whatever. The
consumer alone is shown beside it. Who goes first changes from round to round.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from itertools import count

from benchmarks import child, subscription_calls
from benchmarks.databases import Database, sqlite_file
from benchmarks.filled_log import filled
from benchmarks.measuring import Measured
from benchmarks.processor import CpuSeconds, postgres_server, sqlite_alone
from benchmarks.rounds import Part, Setting, measure_each
from benchmarks.serving import aggregator
from benchmarks.stored_topic import TOPIC
from benchmarks.subscription_consuming import of_client

BACKENDS = ("SQLite", "Postgres")
BY_HAND = "by hand, lease + settle"
CARRIED = "by hand, leases that carry the settle"
RUN, LOOP, BATCHES = "the library, run", "the library, a loop", "the library, run_batches"
WAYS = {BY_HAND: "turns", CARRIED: "carried", RUN: "run", LOOP: "loop", BATCHES: "batches"}

_SHARE = 5
"""One in so many events is taken in a run."""

_NUMBERS = count(1)


def named(backend: str, way: str) -> str:
    """Return the name of a measurement."""
    return f"{backend}, {way}"


async def measure(setting: Setting) -> Part:
    """Measure each way once a round."""
    part = Part(setting.say)
    events = max(1_000, setting.events // _SHARE)
    makes = {
        "SQLite": (sqlite_file, sqlite_alone),
        "Postgres": (setting.postgres, postgres_server),
    }
    async with AsyncExitStack() as stack:
        logs: dict[str, tuple[Database, CpuSeconds]] = {}
        for backend, (make, of_database) in makes.items():
            log = await stack.enter_async_context(filled(make, events))
            logs[backend] = log, await of_database(log)
        for number in range(setting.rounds):
            for backend in BACKENDS:
                log, database_cpu_s = logs[backend]
                runs: dict[str, Callable[[], Awaitable[Measured]]] = {
                    named(backend, way): partial(_consumed, log, database_cpu_s, how, events)
                    for way, how in WAYS.items()
                }
                order = list(runs) if number % 2 == 0 else list(reversed(runs))
                await measure_each(part, {name: runs[name] for name in order})
    for backend in BACKENDS:
        for way in (RUN, LOOP, BATCHES):
            part.compare(named(backend, way), named(backend, BY_HAND))
            part.compare(named(backend, way), named(backend, CARRIED))
    return part


async def _consumed(log: Database, database_cpu_s: CpuSeconds, how: str, events: int) -> Measured:
    name = f"library-{next(_NUMBERS)}"
    with aggregator(log.arguments) as server:
        await subscription_calls.make(server.port, name, {"topics": [TOPIC], "from": "start"})
        begun_s = server.cpu_s() + database_cpu_s()
        ended = await child.run("library_ways_client", server.port, name, events, how)
        cpu_s = server.cpu_s() + database_cpu_s() - begun_s + ended["cpu_s"]
        await subscription_calls.check(server.port, name, events)
    measured = of_client(ended, events)
    return measured._replace(all_cpu_s_per_million=cpu_s / events * 1e6)
