"""What a campaign of consumers counts, and the table it ends with."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.consumer_campaign_plan import Kind

PROPERTY = "consumer campaign"
"""The name under which a test reports its figures."""


@dataclass
class SubjectTally:
    """The figures of one subscription."""

    name: str
    kind: str
    order: str
    kills: Counter[str] = field(default_factory=Counter)
    """Consumers ended by SIGKILL, by the point."""
    suspended: int = 0
    """Consumers that did not run for longer than a lease, and went on."""
    events: int = 0
    """Events that were to have an effect or a result."""
    effects: int = 0
    """Effects or results that there are."""
    doubles: int = 0
    missing: int = 0
    misordered: int = 0
    repeated: int = 0
    """Results that were published again, and dropped."""
    redelivered: int = 0
    """Deliveries after the first."""


@dataclass
class ConsumerTally:
    """The figures of one campaign on one backend."""

    backend: str
    seed: str
    aggregators: int = 0
    """Aggregators ended by SIGKILL."""
    seconds: float = 0.0
    subjects: list[SubjectTally] = field(default_factory=list)

    @property
    def kills(self) -> Counter[str]:
        """Consumers ended by SIGKILL, by the point."""
        return sum((subject.kills for subject in self.subjects), Counter())

    @property
    def repeated(self) -> int:
        """Results that were published again, and dropped."""
        return sum(subject.repeated for subject in self.subjects)

    @property
    def suspended(self) -> int:
        """Consumers that did not run for longer than a lease, and went on."""
        return sum(subject.suspended for subject in self.subjects)

    def doubles_of(self, kind: Kind) -> int:
        """Return the doubles of all subscriptions of a kind."""
        return sum(subject.doubles for subject in self.subjects if subject.kind == kind)

    def figures(self) -> dict[str, Any]:
        """All of it as plain JSON, for a report."""
        subjects = [
            vars(subject) | {"kills": {str(point): n for point, n in subject.kills.items()}}
            for subject in self.subjects
        ]
        return vars(self) | {"subjects": subjects}


_COUNTS = ("events", "effects", "doubles", "missing", "misordered", "repeated", "redelivered")
_COLUMNS = ("backend", "subscription", "effects by", "order", "kills", *_COUNTS)


def table(figures: Iterable[dict[str, Any]]) -> list[str]:
    """The closing table: a line for each subscription, and where consumers were killed.

    Args:
        figures: those of each campaign.
    """
    rows: list[Sequence[str]] = [_COLUMNS]
    notes: list[str] = []
    points: Counter[str] = Counter()
    for one in sorted(figures, key=lambda one: one["backend"] != "sqlite"):
        kills = 0
        for subject in one["subjects"]:
            killed = sum(subject["kills"].values())
            kills += killed
            points.update(subject["kills"])
            words = (one["backend"], subject["name"], subject["kind"], subject["order"])
            counts = {name: f"{subject[name]:,}" for name in _COUNTS}
            if subject["order"] == "none" or subject["kind"] == Kind.RESULTS:
                # It is not promised.
                counts["misordered"] = "-"
            rows.append((*words, f"{killed:,}", *counts.values()))
        notes.append(
            f"{one['backend']}: {kills:,} consumers and {one['aggregators']:,} aggregators killed"
            f" in {one['seconds'] / 60:.1f} minutes;"
            f" the same choices again: CRASH_CAMPAIGN_SEED={one['seed']}"
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        *("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows),
        "killed " + ", ".join(f"{point}: {count}" for point, count in points.most_common()),
        *notes,
    ]
