"""What was checked, and what was found to be off."""

from typing import NamedTuple

MOST_LISTED = 20

VERDICTS = "verdicts"
OFFSETS_TOLD = "offsets_told"
DENSE = "dense_offsets"
KNOWN_OFFSETS = "known_offsets"
STATS_SEEN = "stats_seen"
COUNTS = "counts"
LOG = "log"

CHECKS = {
    VERDICTS: "every verdict is the one planned, each key stored once",
    OFFSETS_TOLD: "all verdicts of a key tell one offset, new events of a request ascend",
    DENSE: "the offsets told are dense, from the head offset before the run on",
    KNOWN_OFFSETS: "every offset is the one known in advance (one connection)",
    STATS_SEEN: "each /stats seen is conserved, no count falls, none lacks what was answered",
    COUNTS: "the counts rose by what was sent, per topic and in all",
    LOG: "the log read back holds each planned event once, where it was told, byte for byte",
}
"""The checks, each with what it says when nothing is off."""


class Finding(NamedTuple):
    """A difference: which check found it, and one sentence with what was expected and observed."""

    check: str
    sentence: str


class Findings:
    """Differences as they are found, of which the first MOST_LISTED are kept."""

    def __init__(self) -> None:
        self.listed: list[Finding] = []
        self.total = 0
        self._found: dict[str, int] = {}

    def made(self, check: str) -> None:
        """Note that a check is made, whatever it will find."""
        self._found.setdefault(check, 0)

    def differs(self, check: str, sentence: str) -> None:
        """Note a difference."""
        self._found[check] = self._found.get(check, 0) + 1
        self.total += 1
        if len(self.listed) < MOST_LISTED:
            self.listed.append(Finding(check, sentence))

    def expect(self, check: str, what: str, expected: object, observed: object) -> None:
        """Note a difference unless observed is what was expected."""
        if expected != observed:
            self.differs(check, f"{what} is {shown(observed)}, expected {shown(expected)}")

    @property
    def checks(self) -> dict[str, int]:
        """Give the checks that were made, in their order, and how many differences each found."""
        return {check: self._found[check] for check in CHECKS if check in self._found}


def shown(amount: object) -> str:
    """Give an amount as people read it."""
    return f"{amount:,}" if isinstance(amount, int) else str(amount)
