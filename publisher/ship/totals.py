"""What a command has shipped so far."""

from dataclasses import dataclass

from publisher.response import Verdict


@dataclass(slots=True)
class Totals:
    """Counts what was acknowledged so far. An event is a line, several, or a part of one.

    Args:
        lines: lines of records that have an outcome.
        as_text: records that are stored as text in place of what the format makes of them.
        rejected: records that are not stored.
        times_unread: events that have the time of sending, as theirs could not be read.
        retries: requests that were sent once more.
    """

    lines: int = 0
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    as_text: int = 0
    rejected: int = 0
    times_unread: int = 0
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

    def odd_counts(self) -> str:
        """Return the counts of what is not as it should be, "" if nothing is."""
        counts = [
            counted(count, one, many)
            for count, one, many in (
                (self.as_text, "was stored as text", "were stored as text"),
                (self.rejected, "was not stored", "were not stored"),
                (self.conflicts, "is in conflict", "are in conflict"),
                (self.times_unread, "has a time", "have times"),
            )
            if count
        ]
        if not counts:
            return ""
        told = f"of the records so far {', '.join(counts)}"
        return f"{told} that could not be read" if self.times_unread else told

    def __str__(self) -> str:
        """Return the closing line."""
        sent = counted(self.lines, "line", "lines")
        if self.events + self.rejected != self.lines:
            sent += f" as {counted(self.events, 'event', 'events')}"
        as_text = f"as text {self.as_text:,}, " if self.as_text else ""
        rejected = f"rejected {self.rejected:,}, " if self.rejected else ""
        return (
            f"sent {sent}: stored {self.stored:,}, duplicates {self.duplicates:,}, "
            f"conflicts {self.conflicts:,}, {as_text}{rejected}retries {self.retries:,}"
        )


def counted(count: int, one: str, many: str) -> str:
    """Return a count with what is counted: "1 line", "2 lines"."""
    return f"{count:,} {one if count == 1 else many}"
