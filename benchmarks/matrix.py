"""The standard workload changed in one respect at a time, and reads beside it.

Each row is measured beside the ceilings of the same events: bare SQLite, bare Postgres, and the
bare handler with the same requests over as many connections.
"""

import statistics
from functools import partial
from typing import NamedTuple

from benchmarks import measuring, reads, tables
from benchmarks.databases import sqlite_file
from benchmarks.measuring import Sent
from benchmarks.rounds import Part, Setting, measure_each
from benchmarks.workload import Workload

_STANDARD = Workload()


class Row(NamedTuple):
    """A workload, and the number of its events that take as long as those of the standard one."""

    name: str
    workload: Workload
    share: float = 1.0
    """The number of its events, as a share of those of the standard one."""


ROWS = [
    Row("standard", _STANDARD),
    Row("batches of 1", _STANDARD._replace(batch=1), 1 / 12),
    Row("batches of 10", _STANDARD._replace(batch=10), 1 / 3),
    Row("batches of 1,000", _STANDARD._replace(batch=1000)),
    Row("1 connection", _STANDARD._replace(connections=1), 1 / 3),
    Row("4 connections", _STANDARD._replace(connections=4), 2 / 3),
    Row("64 connections", _STANDARD._replace(connections=64)),
    Row("256 connections", _STANDARD._replace(connections=256)),
    Row("no duplicates", _STANDARD._replace(duplicates=0)),
    Row("90 % duplicates", _STANDARD._replace(duplicates=0.9)),
    Row("1 topic", _STANDARD._replace(topics=1)),
    Row("1,000 topics", _STANDARD._replace(topics=1000)),
    Row("time-ordered ids", _STANDARD._replace(ids="uuid7")),
    Row("payloads of 2 kB", _STANDARD._replace(payload_bytes=2_000), 1 / 6),
    Row("payloads of 50 kB", _STANDARD._replace(payload_bytes=50_000), 1 / 100),
]

_BACKENDS = ("SQLite", "Postgres")

SEVERAL = (2, 3)
"""The number of aggregators on one Postgres."""


async def measure(setting: Setting) -> Part:
    """Measure each row and its ceilings once a round, and reads beside writes."""
    part = Part(setting.say)
    for _ in range(setting.rounds):
        for row in ROWS:
            await _measure(part, row, setting)
        await reads.measure(part, setting)
    part.overview = _overview(part)
    return part


async def _measure(part: Part, row: Row, setting: Setting) -> None:
    # At least two requests: of one there are no percentiles. Half of what was asked for: it is a
    # matter of many rows.
    events = max(2 * row.workload.batch, round(setting.events / 2 * row.share))
    sent = Sent.make(row.workload, events)
    postgres = setting.postgres
    name = row.name
    runs = {
        f"{name}: bare SQLite": partial(measuring.sqlite, sent),
        f"{name}: SQLite": partial(measuring.service, sqlite_file, sent),
        f"{name}: bare Postgres": partial(measuring.postgres, postgres, sent),
        f"{name}: Postgres": partial(measuring.service, postgres, sent),
        f"{name}: bare handler": partial(measuring.handler, sent),
    }
    if row.workload == _STANDARD:
        for aggregators in SEVERAL:
            several = f"{aggregators} aggregators: Postgres"
            runs[several] = partial(measuring.service, postgres, sent, aggregators)
            part.compare(several, f"{name}: Postgres")
    await measure_each(part, runs)
    for backend in _BACKENDS:
        for ceiling in (f"bare {backend}", "bare handler"):
            part.compare(f"{name}: {backend}", f"{name}: {ceiling}")


def _overview(part: Part) -> str:
    """Return a table with a row for each workload: medians, and their ratios to the ceilings."""
    columns = ["events/s", "p99 ms", "/ bare", "/ handler"]
    lines = tables.head(["", *(f"{backend}: {each}" for backend in _BACKENDS for each in columns)])
    for each in ROWS:
        cells = [each.name]
        for backend in _BACKENDS:
            name = f"{each.name}: {backend}"
            taken = part.measurements[name]
            cells += [
                f"{statistics.median(measured.events_s for measured in taken):,.0f}",
                f"{statistics.median(measured.p99_ms or 0.0 for measured in taken):,.1f}",
                tables.spread(part.ratios(name, f"{each.name}: bare {backend}")),
                tables.spread(part.ratios(name, f"{each.name}: bare handler")),
            ]
        lines.append(tables.row(cells))
    return "\n".join(lines)
