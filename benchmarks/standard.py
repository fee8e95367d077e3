"""The standard workload: the service over HTTP beside its ceilings, of the same events.

The load generator, one aggregator with its default settings and the database with its own run on
this machine. Events go in batches of 100 over 16 connections, and one at a time over 64.
"""

from functools import partial

from benchmarks import measuring
from benchmarks.databases import sqlite_file
from benchmarks.measuring import Sent
from benchmarks.rounds import Part, Setting, measure_each
from benchmarks.workload import Workload

BATCHES = Workload()
SINGLE = Workload(batch=1, connections=64)

SQLITE, POSTGRES = "SQLite, batches of 100", "Postgres, batches of 100"
SQLITE_SINGLE, POSTGRES_SINGLE = "SQLite, single events", "Postgres, single events"
BARE_SQLITE, BARE_POSTGRES = "bare SQLite, batches of 2,000", "bare Postgres, batches of 2,000"
HANDLER = "bare aiohttp handler, batches of 100"
HANDLER_SINGLE = "bare aiohttp handler, single events"

_BESIDE = [
    (SQLITE, BARE_SQLITE),
    (SQLITE, HANDLER),
    (POSTGRES, BARE_POSTGRES),
    (POSTGRES, HANDLER),
    (SQLITE_SINGLE, HANDLER_SINGLE),
    (POSTGRES_SINGLE, HANDLER_SINGLE),
]


def single_events(events: int) -> int:
    """Return the number of single events that take about as long as `events` in batches."""
    return max(2, events // 7)


async def measure(setting: Setting) -> Part:
    """Measure each figure and each ceiling once a round."""
    part = Part(setting.say)
    postgres = setting.postgres
    for _ in range(setting.rounds):
        batches = Sent.make(BATCHES, setting.events)
        single = Sent.make(SINGLE, single_events(setting.events))
        await measure_each(
            part,
            {
                BARE_SQLITE: partial(measuring.sqlite, batches),
                SQLITE: partial(measuring.service, sqlite_file, batches),
                BARE_POSTGRES: partial(measuring.postgres, postgres, batches),
                POSTGRES: partial(measuring.service, postgres, batches),
                HANDLER: partial(measuring.handler, batches),
                HANDLER_SINGLE: partial(measuring.handler, single),
                SQLITE_SINGLE: partial(measuring.service, sqlite_file, single),
                POSTGRES_SINGLE: partial(measuring.service, postgres, single),
            },
        )
    for name, ceiling in _BESIDE:
        part.compare(name, ceiling)
    return part
