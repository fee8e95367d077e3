"""Checks of /stats: of every response during the run, and of the counts at its end."""

from collections.abc import Sequence
from typing import NamedTuple

from publisher.load.findings import COUNTS, STATS_SEEN, Findings, shown
from publisher.load.plan import Plan
from publisher.load.possible_counts import PossibleCounts
from publisher.load.read_back import Counts, Stats
from publisher.load.verdict_check import VerdictCheck

_COUNTED = ("received", "unique_processed", "duplicate_dropped", "conflicts")


class CountIncrease(NamedTuple):
    """The increase of the counts of the run's topics together, in events.

    Args:
        received: the increase of `received`.
        unique: the increase of `unique_processed`.
        conflicts: the increase of `conflicts`.
        lost_received: the part of `received` that is due to attempts whose response was lost.
        lost_conflicts: the same of `conflicts`.
    """

    received: int
    unique: int
    conflicts: int
    lost_received: int
    lost_conflicts: int


class StatsCheck:
    """Checks each response of /stats as it comes: conservation, growth and acknowledged events.

    `responses` is the number of responses that were checked, `missed` that of requests without one.

    Args:
        first: the response before the run, which is checked too.
        findings: the differences.
    """

    def __init__(self, first: Stats, findings: Findings) -> None:
        self.responses = self.missed = 0
        self._first = first
        self._topics: dict[str, Counts] = {}
        self._findings = findings
        findings.start(STATS_SEEN)
        self.check(first, 0)

    def check(self, stats: Stats, acknowledged: int) -> None:
        """Check a response.

        Args:
            stats: the response.
            acknowledged: the number of events of the run that were acknowledged before the request.
        """
        self.responses += 1
        for topic, counts in stats.topics.items():
            name = f" of topic {topic!r}"
            self._check_counts(counts, name)
            self._expect(f"head_offset{name}", counts.unique_processed, counts.head_offset)
        self._check_counts(stats, "")
        self._check_sums(stats)
        self._check_growth(stats)
        min_received = self._first.received + acknowledged
        if stats.received < min_received:
            self._add(
                f"received is {stats.received:,} after {acknowledged:,} events were acknowledged, "
                f"expected {min_received:,} at least"
            )

    def _check_sums(self, stats: Stats) -> None:
        if stats.in_pages:
            # Each page is a snapshot of its own.
            return
        for field in _COUNTED:
            total = sum(getattr(counts, field) for counts in stats.topics.values())
            self._expect(f"{field}, the sum of all topics,", total, getattr(stats, field))

    def _check_growth(self, stats: Stats) -> None:
        for topic, before in self._topics.items():
            if not stats.knows(topic):
                continue
            for field in _COUNTED:
                was, now = getattr(before, field), getattr(stats.of(topic), field)
                if now < was:
                    self._add(f"{field} of topic {topic!r} fell from {was:,} to {now:,}")
        self._topics |= stats.topics

    def _check_counts(self, counts: Counts | Stats, name: str) -> None:
        unique, dropped = counts.unique_processed, counts.duplicate_dropped
        self._expect(f"received{name}", unique + dropped, counts.received)
        if not 0 <= counts.conflicts <= dropped:
            self._add(f"conflicts{name} is {counts.conflicts:,} of {dropped:,} duplicate_dropped")

    def _expect(self, name: str, expected: int, observed: int) -> None:
        self._findings.expect(STATS_SEEN, f"in an answer of /stats {name}", expected, observed)

    def _add(self, sentence: str) -> None:
        self._findings.add(STATS_SEEN, f"in an answer of /stats {sentence}")


def check_increase(
    plan: Plan,
    topics: Sequence[str],
    before: Stats,
    after: Stats,
    verdicts: VerdictCheck,
    findings: Findings,
) -> CountIncrease:
    """Check the increase of the counts, per topic and for the run's topics together.

    It is called when every request has its response.

    Args:
        plan: the plan that was sent.
        topics: the names of its topics, in the order of the plan's numbers.
        before: the counts before the run.
        after: the counts after it.
        verdicts: the verdicts of the run.
        findings: the differences.

    Returns:
        The increase of the topics together.
    """
    findings.start(COUNTS)
    checks = _IncreaseCheck(verdicts, findings)
    pairs = [(before.of(topic), after.of(topic)) for topic in topics]
    for number, topic in enumerate(topics):
        name = f"topic {topic!r}"
        was, now = pairs[number]
        unique = plan.unique_of[number]
        received, conflicts = now.received - was.received, now.conflicts - was.conflicts
        checks.exact("unique_processed", name, unique, now.unique_processed - was.unique_processed)
        checks.exact("head_offset", name, unique, now.head_offset - was.head_offset)
        checks.with_lost("received", name, plan.events_of[number], received, number)
        checks.with_lost("conflicts", name, plan.conflicts_of[number], conflicts, number)
    received, unique, conflicts = (
        sum(getattr(now, field) - getattr(was, field) for was, now in pairs)
        for field in ("received", "unique_processed", "conflicts")
    )
    shape = plan.shape
    name = "all topics together"
    checks.exact("unique_processed", name, shape.unique, unique)
    checks.with_lost("received", name, shape.events, received, None)
    checks.with_lost("conflicts", name, shape.conflicts, conflicts, None)
    lost_received, lost_conflicts = received - shape.events, conflicts - shape.conflicts
    return CountIncrease(received, unique, conflicts, lost_received, lost_conflicts)


class _IncreaseCheck:
    """Checks the increase of one count, where `where` names the topic in the sentence."""

    def __init__(self, verdicts: VerdictCheck, findings: Findings) -> None:
        self._verdicts = verdicts
        self._findings = findings

    def exact(self, count: str, where: str, expected: int, observed: int) -> None:
        if expected != observed:
            self._add(count, where, observed, f"{expected:,}")

    def with_lost(
        self, count: str, where: str, sent: int, observed: int, topic: int | None
    ) -> None:
        """Check a count that attempts without a response may have raised further."""
        lost = self._verdicts.lost_counts(topic, conflicts=count == "conflicts")
        possible = PossibleCounts(lost)
        if observed - sent in possible:
            return
        nearest = " or ".join(shown(sent + amount) for amount in possible.nearest(observed - sent))
        attempts = sum(each.max_counted for each in lost)
        named = "1 try" if attempts == 1 else f"{attempts:,} tries"
        why = f" with {named} whose answer was lost" if attempts else ""
        self._add(count, where, observed, f"{nearest}{why}")

    def _add(self, count: str, where: str, observed: int, expected: str) -> None:
        self._findings.add(COUNTS, f"{count} of {where} rose by {observed:,}, expected {expected}")
