"""The checks of a run, and the differences that they found."""

from typing import NamedTuple

MAX_LISTED = 20

VERDICTS = "verdicts"
OFFSETS_TOLD = "offsets_told"
DENSE = "dense_offsets"
KNOWN_OFFSETS = "known_offsets"
STATS_SEEN = "stats_seen"
COUNTS = "counts"
LOG = "log"

CHECKS = {
    VERDICTS: "every verdict is the one planned, each key stored once",
    OFFSETS_TOLD: "all verdicts of a key have one offset, new events of a request ascend",
    DENSE: "the offsets of the verdicts are dense, from the head offset before the run on",
    KNOWN_OFFSETS: "every offset is the one known in advance (one connection)",
    STATS_SEEN: "each /stats is conserved, no count falls, none lacks an acknowledged event",
    COUNTS: "the counts rose by what was sent, per topic and in all",
    LOG: "the log read back holds each planned event once, at its offset, byte for byte",
}
"""The checks, each with the sentence for the case that it found no difference."""


class Finding(NamedTuple):
    """A difference between the run and the plan.

    Args:
        check: the check that found it, a key of CHECKS.
        sentence: one sentence with the expected and the observed value.
    """

    check: str
    sentence: str


class Findings:
    """Collects differences, counts them, and keeps the first MAX_LISTED of them."""

    def __init__(self) -> None:
        self.listed: list[Finding] = []
        self.total = 0
        self._found: dict[str, int] = {}

    def start(self, check: str) -> None:
        """Record that a check is made, whatever it will find."""
        self._found.setdefault(check, 0)

    def add(self, check: str, sentence: str) -> None:
        """Record a difference."""
        self._found[check] = self._found.get(check, 0) + 1
        self.total += 1
        if len(self.listed) < MAX_LISTED:
            self.listed.append(Finding(check, sentence))

    def expect(self, check: str, name: str, expected: object, observed: object) -> None:
        """Record a difference unless a value is the expected one.

        Args:
            check: the check that is made.
            name: the name of the value, for the sentence.
            expected: the value of the plan.
            observed: the value of the run.
        """
        if expected != observed:
            self.add(check, f"{name} is {shown(observed)}, expected {shown(expected)}")

    @property
    def checks(self) -> dict[str, int]:
        """The number of differences of each check that was made, in the order of CHECKS."""
        return {check: self._found[check] for check in CHECKS if check in self._found}


def shown(amount: object) -> str:
    """Return an amount in the form that people read."""
    return f"{amount:,}" if isinstance(amount, int) else str(amount)
