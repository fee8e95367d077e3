"""What a command has shipped so far."""

from dataclasses import dataclass

from publisher.response import Verdict


@dataclass(slots=True)
class Totals:
    """What was acknowledged so far. An event is a line, or a part of one that had to be cut.

    rejected: lines that are no event, or that the aggregator rejected.
    retries: requests that were sent once more.
    """

    lines: int = 0
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    retries: int = 0

    @property
    def events(self) -> int:
        """How many events have a verdict."""
        return self.stored + self.duplicates + self.conflicts

    def take(self, verdict: Verdict) -> None:
        """Count a verdict. The duplicates do not contain the conflicts."""
        match verdict.status:
            case "stored":
                self.stored += 1
            case "duplicate":
                self.duplicates += 1
            case "conflict":
                self.conflicts += 1

    def __str__(self) -> str:
        """Give the closing line."""
        sent = _counted(self.lines, "line", "lines")
        if self.events + self.rejected != self.lines:
            sent += f" as {_counted(self.events, 'event', 'events')}"
        rejected = f"rejected {self.rejected:,}, " if self.rejected else ""
        return (
            f"sent {sent}: stored {self.stored:,}, duplicates {self.duplicates:,}, "
            f"conflicts {self.conflicts:,}, {rejected}retries {self.retries:,}"
        )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
