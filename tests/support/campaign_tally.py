"""What a crash campaign counts, and the table it ends with."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Tally:
    """The figures of one campaign on one backend."""

    backend: str
    aggregators: int
    seed: str
    kills: Counter[str] = field(default_factory=Counter)
    """Aggregators ended by SIGKILL, by the moment."""
    restarts: int = 0
    requests: int = 0
    """Acknowledged requests."""
    events: int = 0
    """Acknowledged events, duplicates included."""
    unique: int = 0
    """Stored events."""
    retried: int = 0
    """Requests sent again because their answer was lost."""
    whole: int = 0
    """Requests without an answer that were found stored."""
    absent: int = 0
    """Requests without an answer that were found not to be stored."""
    lost: int = 0
    doubled: int = 0
    leases: int = 0
    """Leases that consumers were given."""
    delivered: int = 0
    """Events in them."""
    redelivered: int = 0
    """Those of them that were delivered before."""
    settles: int = 0
    """Acknowledged settles."""
    settles_unanswered: int = 0
    """Settles sent again because their answer was lost."""
    settled_again: int = 0
    """Settles that were answered before, and are answered again."""
    leases_lost: int = 0
    """Settles refused since their lease had run out."""
    dead: int = 0
    statuses: int = 0
    """Answers with the counts of a subscription."""
    came_again: int = 0
    """Events that were settled, and came again."""
    passed_over: int = 0
    """Events that were never settled, and do not come."""
    seconds: float = 0.0

    @property
    def repeated(self) -> float:
        """The share of the acknowledged events that were duplicates or conflicts."""
        return 1 - self.unique / max(1, self.events)

    def figures(self) -> dict[str, Any]:
        """All of it as plain JSON, for a report; `Tally(**figures)` has it back."""
        return {**vars(self), "kills": {str(moment): n for moment, n in self.kills.items()}}


NewTally = Callable[[str, int, str], Tally]
"""Makes a tally, of a backend, a number of aggregators and a seed, that is shown at the end."""

_COLUMNS = (
    "backend",
    "aggregators",
    "kills",
    "restarts",
    "requests",
    "events",
    "repeated",
    "retried",
    "stored",
    "absent",
    "lost",
    "doubled",
    "minutes",
)
_SUMMED = (
    "restarts",
    "requests",
    "events",
    "unique",
    "retried",
    "whole",
    "absent",
    "lost",
    "doubled",
    "seconds",
)
_CONSUMED = (
    "leases",
    "delivered",
    "redelivered",
    "settles",
    "settles_unanswered",
    "settled_again",
    "leases_lost",
    "dead",
    "statuses",
    "came_again",
    "passed_over",
)


def table(figures: Iterable[dict[str, Any]]) -> list[str]:
    """The closing table: a line for each campaign, a sum for each backend, and when it killed.

    Args:
        figures: those of each campaign.
    """
    tallies = sorted(
        (Tally(**{**one, "kills": Counter(one["kills"])}) for one in figures),
        key=lambda tally: (tally.backend != "sqlite", tally.backend, tally.aggregators),
    )
    rows: list[tuple[str, ...]] = [_COLUMNS]
    consumed: list[str] = []
    for backend in dict.fromkeys(tally.backend for tally in tallies):
        alike = [tally for tally in tallies if tally.backend == backend]
        rows += [_row(tally, str(tally.aggregators)) for tally in alike]
        if len(alike) > 1:
            rows.append(_row(_sum(alike), "in all"))
        if (both := _sum(alike)).leases:
            counts = (f"{name} {getattr(both, name):,}" for name in _CONSUMED)
            consumed.append(f"consumers, {backend}: {', '.join(counts).replace('_', ' ')}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    moments: Counter[str] = sum((tally.kills for tally in tallies), Counter())
    return [
        *("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows),
        "killed " + ", ".join(f"{moment}: {count}" for moment, count in moments.most_common()),
        *consumed,
        "stored and absent are the requests whose answer was lost to a kill, by what was found",
        f"the same choices again: CRASH_CAMPAIGN_SEED={tallies[0].seed}",
    ]


def _row(tally: Tally, aggregators: str) -> tuple[str, ...]:
    numbers = (tally.kills.total(), tally.restarts, tally.requests, tally.events)
    fates = (tally.retried, tally.whole, tally.absent, tally.lost, tally.doubled)
    return (
        tally.backend,
        aggregators,
        *(f"{number:,}" for number in numbers),
        f"{tally.repeated:.0%}",
        *(f"{number:,}" for number in fates),
        f"{tally.seconds / 60:.1f}",
    )


def _sum(tallies: Sequence[Tally]) -> Tally:
    both = Tally(tallies[0].backend, 0, "", sum((tally.kills for tally in tallies), Counter()))
    for name in (*_SUMMED, *_CONSUMED):
        setattr(both, name, sum(getattr(tally, name) for tally in tallies))
    return both
