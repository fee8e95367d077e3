"""What is compared: measured in turn, round after round, so that a neighbour takes from each."""

import json
import os
import platform
import sqlite3
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import measuring
from benchmarks.databases import MakeDatabase, sqlite_file
from benchmarks.measuring import Measured, Sent
from benchmarks.workload import Workload

BATCHES = Workload()
SINGLE = Workload(batch=1, connections=64)


class Ratio(NamedTuple):
    """A figure beside its ceiling, and what it is to reach."""

    of: str
    ceiling: str
    least: float


RATIOS = [
    Ratio("SQLite, batches of 100", "bare SQLite, batches of 2,000", 0.75),
    Ratio("Postgres, batches of 100", "bare Postgres, batches of 2,000", 0.75),
    Ratio("SQLite, single events", "bare aiohttp handler, single events", 0.6),
    Ratio("Postgres, single events", "bare aiohttp handler, single events", 0.6),
]

Measurements = dict[str, list[Measured]]


async def compare(
    postgres: MakeDatabase,
    *,
    rounds: int,
    events: int,
    say: Callable[[str], None],
) -> Measurements:
    """Measure each figure and each ceiling once a round, of the same events.

    Args:
        postgres: makes an empty database of a server.
        events: in batches; a seventh as many are sent one at a time.
        say: told each measurement as it is done.
    """
    taken: Measurements = {}
    for number in range(rounds):
        batches, single = Sent.make(BATCHES, events), Sent.make(SINGLE, max(1, events // 7))
        # Whatever is measured, it is of the same events.
        runs: Mapping[str, Callable[[], Awaitable[Measured]]] = {
            "bare SQLite, batches of 2,000": partial(measuring.sqlite, batches),
            "SQLite, batches of 100": partial(measuring.service, sqlite_file, batches),
            "bare Postgres, batches of 2,000": partial(measuring.postgres, postgres, batches),
            "Postgres, batches of 100": partial(measuring.service, postgres, batches),
            "bare aiohttp handler, single events": partial(measuring.handler, single),
            "SQLite, single events": partial(measuring.service, sqlite_file, single),
            "Postgres, single events": partial(measuring.service, postgres, single),
        }
        for name, run in runs.items():
            measured = await run()
            taken.setdefault(name, []).append(measured)
            say(f"round {number + 1}: {name}: {measured.events_s:,.0f} events/s")
    return taken


def table(taken: Measurements) -> str:
    """Medians, in Markdown, and the ratios of each round: the median, the least, the greatest."""
    lines = [
        "| | events/s | p50 / p99 / p99.9 ms | CPU s a million (generator) | MiB | bytes each |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in taken.items():
        median = _medians(each)
        lines.append(
            f"| {name} | {median['events_s']:,.0f} "
            f"({min(m.events_s for m in each):,.0f}-{max(m.events_s for m in each):,.0f}) "
            f"| {_shown(median, 'p50_ms', 'p99_ms', 'p999_ms')} "
            f"| {_shown(median, 'cpu_s_per_million', 'generator_cpu_s_per_million')} "
            f"| {_shown(median, 'resident_mib')} | {_shown(median, 'bytes_per_event')} |"
        )
    lines += ["", "| ratio | reached | at least |", "|---|---|---|"]
    for ratio in RATIOS:
        found = ratios(taken, ratio)
        lines.append(
            f"| {ratio.of} / {ratio.ceiling} | {statistics.median(found):.2f} "
            f"({min(found):.2f}-{max(found):.2f}) | {ratio.least} |"
        )
    return "\n".join(lines)


def ratios(taken: Measurements, ratio: Ratio) -> list[float]:
    """Of each round."""
    return [
        figure.events_s / ceiling.events_s
        for figure, ceiling in zip(taken[ratio.of], taken[ratio.ceiling], strict=True)
    ]


def write(taken: Measurements, path: Path) -> None:
    """Write every measurement as JSON."""
    measurements = {name: [each._asdict() for each in many] for name, many in taken.items()}
    text = json.dumps({"machine": machine(), "measurements": measurements}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def machine() -> str:
    """What it was measured on."""
    return (
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )


def _medians(each: Sequence[Measured]) -> dict[str, float | None]:
    columns = zip(Measured._fields, zip(*each, strict=True), strict=True)
    return {name: None if None in values else statistics.median(values) for name, values in columns}


def _shown(medians: Mapping[str, float | None], *names: str) -> str:
    values = [medians[name] for name in names]
    return " / ".join("" if value is None else f"{value:,.1f}" for value in values)
