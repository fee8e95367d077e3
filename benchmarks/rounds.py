"""The options and the measurements of a part of the benchmark.

Whatever is compared is measured in turn, round after round, so that a neighbour on the machine
takes from each; a ratio is of two measurements of the same round.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.client_result import NotServed
from benchmarks.databases import MakeDatabase
from benchmarks.measuring import Measured

Say = Callable[[str], None]
Runs = Mapping[str, Callable[[], Awaitable[Measured]]]


class Setting(NamedTuple):
    """The options of a run."""

    rounds: int
    events: int
    """The number of events of a measurement in batches; slower ones have fewer."""
    stored: int
    """The number of events in a database at the end of its growth."""
    postgres: MakeDatabase
    """Makes an empty database on a Postgres server."""
    say: Say
    """Called with a line of text for each measurement."""
    against: Path | None = None
    """Another checkout to compare this one with."""


class Part:
    """The measurements of one part, as they come in."""

    def __init__(self, say: Say) -> None:
        self.measurements: dict[str, list[Measured]] = {}
        """The measurements by name, in the order of the rounds."""
        self.beside: list[tuple[str, str]] = []
        """Pairs of names whose ratio is shown: the first by the second."""
        self.missing: dict[str, str] = {}
        """The measurements that are missing by name, each with the reason as a sentence."""
        self.overview = ""
        """A table in Markdown that comes before all the figures."""
        self.notes: list[str] = []
        """Notes for readers of the figures."""
        self._say = say

    def add(self, name: str, measured: Measured) -> None:
        """Add a measurement and print it."""
        self.measurements.setdefault(name, []).append(measured)
        if measured.start_ms is not None:
            self._say(f"{name}: {measured.start_ms:,.0f} ms")
            return
        if measured.shipper_cpu_s is not None:
            self._say(f"{name}: {measured.shipper_cpu_s:,.2f} s of processor time")
            return
        if measured.stream_kib is not None:
            self._say(f"{name}: {measured.stream_kib:,.1f} KiB each")
            return
        if measured.high_water_mib is not None:
            self._say(f"{name}: {measured.resident_mib:,.0f} MiB at its peak")
            return
        latency = "" if measured.p99_ms is None else f", p99 {measured.p99_ms:,.2f} ms"
        self._say(f"{name}: {measured.events_s:,.0f} events/s{latency}")

    def compare(self, name: str, ceiling: str) -> None:
        """Add a ratio to be shown, unless it was added before."""
        if (name, ceiling) not in self.beside:
            self.beside.append((name, ceiling))

    def miss(self, name: str, why: str) -> None:
        """Record why a measurement can't be made here."""
        self.missing[name] = why
        self._say(f"{name}: not measured: {why}")

    def values(self, name: str, field: str) -> list[float]:
        """Return a field of `Measured`, once for each round that measured it."""
        return [getattr(measured, field) for measured in self.measurements.get(name, [])]

    def ratios(self, name: str, ceiling: str, field: str = "events_s") -> list[float]:
        """Return the ratios of two measurements, one for each round that has both.

        Args:
            name: the measurement.
            ceiling: the one that it is divided by.
            field: the field of `Measured` that is compared.
        """
        pairs = zip(
            self.measurements.get(name, []), self.measurements.get(ceiling, []), strict=False
        )
        return [getattr(figure, field) / getattr(under, field) for figure, under in pairs]


async def measure_each(part: Part, runs: Runs) -> None:
    """Make each measurement once, in turn, but for those that can't be made."""
    for name, run in runs.items():
        if name in part.missing:
            continue
        try:
            part.add(name, await run())
        except NotServed as error:
            part.miss(name, str(error))
