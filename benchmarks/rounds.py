"""What every part of the benchmark is given, and what it gives back.

Whatever is compared is measured in turn, round after round, so that a neighbour on the machine
takes from each; a ratio is of two measurements of the same round.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.databases import MakeDatabase
from benchmarks.measuring import Measured

Say = Callable[[str], None]
Runs = Mapping[str, Callable[[], Awaitable[Measured]]]


class Setting(NamedTuple):
    """What was asked for."""

    rounds: int
    events: int
    """In batches, a measurement; what takes longer is measured with fewer."""
    stored: int
    """So many events are in a database at the end of its growth."""
    postgres: MakeDatabase
    """Makes an empty database of a server."""
    say: Say
    """Told each measurement as it is done."""
    against: Path | None = None
    """Another checkout, to compare this one with."""


class Part:
    """The measurements of one part, as they come in."""

    def __init__(self, say: Say) -> None:
        self.measurements: dict[str, list[Measured]] = {}
        """By name, in the order of the rounds."""
        self.beside: list[tuple[str, str]] = []
        """Names whose ratio says something: the first by the second."""
        self.missing: dict[str, str] = {}
        """What could not be measured, and why: a sentence."""
        self.overview = ""
        """A table of its own, in Markdown, that comes before all the figures."""
        self.notes: list[str] = []
        """What a reader of the figures must know."""
        self._say = say

    def add(self, name: str, measured: Measured) -> None:
        """Keep a measurement, and tell it."""
        self.measurements.setdefault(name, []).append(measured)
        if measured.start_ms is not None:
            self._say(f"{name}: {measured.start_ms:,.0f} ms")
            return
        latency = "" if measured.p99_ms is None else f", p99 {measured.p99_ms:,.2f} ms"
        self._say(f"{name}: {measured.events_s:,.0f} events/s{latency}")

    def compare(self, name: str, ceiling: str) -> None:
        """Show the ratio of the two; said again it is the same."""
        if (name, ceiling) not in self.beside:
            self.beside.append((name, ceiling))

    def miss(self, name: str, why: str) -> None:
        """Say that it can't be measured here."""
        self.missing[name] = why
        self._say(f"{name}: not measured: {why}")

    def ratios(self, name: str, ceiling: str, field: str = "events_s") -> list[float]:
        """Of each round that has both; none if one of them was not measured.

        Args:
            field: of `Measured`, one that both have.
        """
        pairs = zip(
            self.measurements.get(name, []), self.measurements.get(ceiling, []), strict=False
        )
        return [getattr(figure, field) / getattr(under, field) for figure, under in pairs]


async def take(part: Part, runs: Runs) -> None:
    """Measure each once, in turn."""
    for name, run in runs.items():
        part.add(name, await run())
