"""What /stats must say: in every answer on the way, and in the last one to the last event."""

from collections.abc import Sequence
from typing import NamedTuple

from publisher.load.findings import COUNTS, STATS_SEEN, Findings, shown
from publisher.load.plan import Plan
from publisher.load.possible_counts import Admissible
from publisher.load.read_back import Counts, Stats
from publisher.load.verdict_check import Told

_COUNTED = ("received", "unique_processed", "duplicate_dropped", "conflicts")


class Rise(NamedTuple):
    """By how much the counts of the run's topics rose together.

    lost_received, lost_conflicts: the part that is due to tries whose answer was lost.
    """

    received: int
    unique: int
    conflicts: int
    lost_received: int
    lost_conflicts: int


class StatsSeen:
    """Checks each answer of /stats as it comes: what holds at the end holds on the way too.

    seen: how many answers were checked. missed: how often there was none.
    """

    def __init__(self, first: Stats, findings: Findings) -> None:
        self.seen = self.missed = 0
        self._first = first
        self._topics: dict[str, Counts] = {}
        self._findings = findings
        findings.made(STATS_SEEN)
        self.take(first, 0)

    def take(self, stats: Stats, answered: int) -> None:
        """Check an answer.

        answered: so many events of the run were told to be counted before it was asked for.
        """
        self.seen += 1
        for topic, counts in stats.topics.items():
            name = f" of topic {topic!r}"
            self._check_counts(counts, name)
            self._expect(f"head_offset{name}", counts.unique_processed, counts.head_offset)
        self._check_counts(stats, "")
        self._check_sums(stats)
        self._check_growth(stats)
        least = self._first.received + answered
        if stats.received < least:
            self._off(
                f"received is {stats.received:,} when answers had told of {answered:,} events, "
                f"expected {least:,} at least"
            )

    def _check_sums(self, stats: Stats) -> None:
        if stats.in_pages:
            # Each of them is of another moment.
            return
        for field in _COUNTED:
            total = sum(getattr(counts, field) for counts in stats.topics.values())
            self._expect(f"{field}, the sum of all topics,", total, getattr(stats, field))

    def _check_growth(self, stats: Stats) -> None:
        for topic, before in self._topics.items():
            if not stats.tells_of(topic):
                continue
            for field in _COUNTED:
                was, now = getattr(before, field), getattr(stats.of(topic), field)
                if now < was:
                    self._off(f"{field} of topic {topic!r} fell from {was:,} to {now:,}")
        self._topics |= stats.topics

    def _check_counts(self, counts: Counts | Stats, name: str) -> None:
        unique, dropped = counts.unique_processed, counts.duplicate_dropped
        self._expect(f"received{name}", unique + dropped, counts.received)
        if not 0 <= counts.conflicts <= dropped:
            self._off(f"conflicts{name} is {counts.conflicts:,} of {dropped:,} duplicate_dropped")

    def _expect(self, what: str, expected: int, observed: int) -> None:
        self._findings.expect(STATS_SEEN, f"in an answer of /stats {what}", expected, observed)

    def _off(self, sentence: str) -> None:
        self._findings.differs(STATS_SEEN, f"in an answer of /stats {sentence}")


def check_rise(
    plan: Plan, topics: Sequence[str], before: Stats, after: Stats, told: Told, findings: Findings
) -> Rise:
    """Check by how much the counts rose, per topic and for the run's topics together.

    To be called when every request has its answer. topics: in the order of the plan's numbers.
    """
    findings.made(COUNTS)
    pairs = [(before.of(topic), after.of(topic)) for topic in topics]
    for number, topic in enumerate(topics):
        name = f"topic {topic!r}"
        was, now = pairs[number]
        unique = plan.unique_of[number]
        _expect(
            findings, "unique_processed", name, unique, now.unique_processed - was.unique_processed
        )
        _expect(findings, "head_offset", name, unique, now.head_offset - was.head_offset)
        _check_lost(findings, "received", name, plan.events_of[number],
                    now.received - was.received, told, number)  # fmt: skip
        _check_lost(findings, "conflicts", name, plan.conflicts_of[number],
                    now.conflicts - was.conflicts, told, number)  # fmt: skip
    received, unique, conflicts = (
        sum(getattr(now, field) - getattr(was, field) for was, now in pairs)
        for field in ("received", "unique_processed", "conflicts")
    )
    shape = plan.shape
    name = "all topics together"
    _expect(findings, "unique_processed", name, shape.unique, unique)
    _check_lost(findings, "received", name, shape.events, received, told, None)
    _check_lost(findings, "conflicts", name, shape.conflicts, conflicts, told, None)
    return Rise(received, unique, conflicts, received - shape.events, conflicts - shape.conflicts)


def _expect(findings: Findings, count: str, where: str, expected: int, observed: int) -> None:
    if expected != observed:
        findings.differs(COUNTS, f"{count} of {where} rose by {observed:,}, expected {expected:,}")


def _check_lost(
    findings: Findings, count: str, where: str, sent: int, observed: int, told: Told,
    topic: int | None,
) -> None:  # fmt: skip
    lost = told.lost_in(topic, conflicts=count == "conflicts")
    admissible = Admissible(lost)
    if observed - sent in admissible:
        return
    nearest = " or ".join(shown(sent + amount) for amount in admissible.around(observed - sent))
    tries = sum(most for _, most, _ in lost)
    named = "1 try" if tries == 1 else f"{tries:,} tries"
    why = f" with {named} whose answer was lost" if tries else ""
    findings.differs(COUNTS, f"{count} of {where} rose by {observed:,}, expected {nearest}{why}")
