"""The judge of subscribers: it sees every request on its way, and what handlers have decided.

It knows the promises of docs/use/subscriber.md and the rules of docs/use/subscriptions.md, and
nothing of the library's own state.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from subscriber import LeaseLost
from subscriber.calls.requests import Leased, Range, Settle, Settled
from subscriber.testing import InMemoryAggregator
from support.library_calls import Sent, Watch
from support.library_grants import Consumer, Grant, Lease, Place, is_empty, is_same, leased_of

NAME = "billing"


class Judge:
    """Holds subscribers against what they promise.

    Args:
        aggregator: the double that they consume from.
        keeps_order: whether the subscription does.
        source: to which it is limited; None: to none.
    """

    def __init__(
        self, aggregator: InMemoryAggregator, *, keeps_order: bool, source: str | None = None
    ) -> None:
        self.aggregator = aggregator
        self.keeps_order = keeps_order
        self._source = source
        self.sources: defaultdict[str, list[str]] = defaultdict(list)
        """By topic, the source of each event."""
        self.leases: dict[str, Lease] = {}
        self.grants: dict[int, Grant] = {}
        """By the identity of what was handed out, which they keep."""
        self.counts: defaultdict[Place, int] = defaultdict(int)
        """Deliveries that count."""
        self.done: set[Place] = set()
        """What a handler has ended well, or declared dead, since its topic was moved."""
        self.buried: set[Place] = set()
        """What was a dead letter."""
        self.epochs: defaultdict[str, int] = defaultdict(int)
        self.floors: defaultdict[str, int] = defaultdict(int)
        """By topic, the offset behind which it is to be handled."""
        self.broken: list[str] = []
        """What did not hold: whoever runs into it may have swallowed it."""

    def watch(self, consumer: Consumer) -> Watch:
        """Return what watches the requests of a consumer."""
        return _ConsumerWatch(self, consumer)

    def now_us(self) -> int:
        """Return what the clock of the aggregator shows."""
        return self.aggregator._parts.database.now_us

    def check_law(self) -> None:
        """Check the law of subscriptions."""
        status = self.aggregator.subscription(NAME)
        for counts in (status, *status.topics.values()):
            settled = counts.acknowledged + counts.dead
            assert counts.head - counts.start == settled + counts.leased + counts.waiting

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep what does not hold, beside having it fail."""
        try:
            yield
        except AssertionError as error:
            self.broken.append(str(error))
            raise

    # What takes leases away.

    def moved(self, topic: str, floor: int) -> None:
        """Note that a topic was moved."""
        self.epochs[topic] += 1
        self.floors[topic] = floor
        self.done = {place for place in self.done if place[0] != topic or place[1] <= floor}
        for place in [place for place in self.counts if place[0] == topic]:
            del self.counts[place]
        for lease in self.leases.values():
            lease.has_cause |= any(name == topic for name, _ in lease.grants)

    def all_lost(self) -> None:
        """Note that all leases were made to run out."""
        for lease in self.leases.values():
            lease.has_cause = True

    def bury(self) -> set[Place]:
        """Note what is dead, and return it."""
        dead = {(each.topic, each.offset) for each in self.aggregator.dead_letters(NAME)}
        self.buried |= dead
        return dead

    def revived(self, places: set[Place]) -> None:
        """Note that dead letters wait again, with no deliveries counted."""
        for place in places:
            self.counts[place] = 0

    # What handlers do.

    def decide(self, grants: Sequence[Grant], decision: str, error: str | None = None) -> None:
        """Note what a handler has decided of events that it has, of which nothing was decided."""
        if self.keeps_order and decision in {"retry", "release"}:
            firsts: dict[str, Grant] = {}
            for grant in grants:
                first = firsts.setdefault(grant.place[0], grant)
                if grant.place < first.place:
                    firsts[grant.place[0]] = grant
            for first in firsts.values():
                for behind in first.lease.behind(first.place):
                    if behind.decision is None:
                        behind.decision = "behind"
            grants = list(firsts.values())
        for grant in grants:
            grant.decision, grant.error = decision, error
            if decision in {"ack", "dead"} and grant.epoch == self.epochs[grant.place[0]]:
                self.done.add(grant.place)

    def check_order(self, grant: Grant, ahead: set[int]) -> None:
        """Check that what is ahead of an event in its topic is done, or in the same batch."""
        topic, offset = grant.place
        if grant.epoch != self.epochs[topic]:
            return
        for place in self.to_be_handled(topic, offset - 1):
            if place not in self.done and place not in self.buried and place[1] not in ahead:
                assert place in self.bury(), f"{grant} is handled ahead of {place}"

    def check_caught_up(self, heads: Mapping[str, int]) -> None:
        """Check that all up to the heads of topics was handled to the end, or is dead."""
        ended = self.done | self.bury() | self.buried
        selected = self.aggregator.subscription(NAME).topics
        for topic, head in heads.items():
            missing = set(self.to_be_handled(topic, head)) - ended
            assert not missing or topic not in selected, f"never handled to the end: {missing}"

    def to_be_handled(self, topic: str, last: int) -> list[Place]:
        """Return what is to be handled of a topic, up to an offset."""
        sources = self.sources[topic]
        return [
            (topic, offset)
            for offset in range(self.floors[topic] + 1, last + 1)
            if self._source in {None, sources[offset - 1]}
        ]

    # What requests are.

    def check_settle(self, consumer: Consumer, settle: Settle) -> None:
        """Check what a consumer sends."""
        now_s = asyncio.get_running_loop().time()
        lease = self.leases[settle.lease]
        assert lease.consumer is consumer
        assert not lease.is_refused, "a settle of a lease that is known to be lost"
        if is_empty(settle):
            assert lease.undecided(), "an extension of a lease of which nothing is open"
        elif (former := consumer.unanswered) is not None and not is_same(settle, former):
            asked = self.leases[former.lease]
            assert asked.is_known_to_be_lost(now_s), "it is not asked again for a lost answer"
        for grant in _named(lease, settle.ack):
            assert grant.decision == "ack", f"acknowledged, but it is not handled: {grant}"
        for grant in _named(lease, settle.release):
            if grant.decision is None:
                assert not grant.is_running, f"released while it is handled: {grant}"
                grant.decision = "release"
            assert grant.decision in {"release", "behind"}, f"released: {grant}"
        for retry in settle.retry:
            grant = lease.grants[retry.topic, retry.offset]
            assert (grant.decision, grant.error) == ("retry", retry.error), f"{retry}: {grant}"
        for death in settle.dead:
            grant = lease.grants[death.topic, death.offset]
            assert (grant.decision, grant.error) == ("dead", death.error), f"{death}: {grant}"

    def settled(self, settle: Settle, answer: Settled) -> None:
        """Note what the aggregator has done."""
        lease = self.leases[settle.lease]
        if settle.extend_ms is not None:
            lease.until_us = max(lease.until_us, self.now_us() + settle.extend_ms * 1000)
        acks = [each for each in _named(lease, settle.ack) if each.outcome is None]
        releases = [each for each in _named(lease, settle.release) if each.outcome is None]
        failures = [lease.grants[each.topic, each.offset] for each in settle.retry]
        failures += [lease.grants[each.topic, each.offset] for each in settle.dead]
        failures = [each for each in failures if each.outcome is None]
        if not (acks or releases or failures):
            # It was done before.
            return
        for grant in acks:
            grant.outcome = "ack"
        for grant in failures:
            grant.outcome = grant.decision
        if self.keeps_order:
            for retry in settle.retry:
                behind = lease.behind((retry.topic, retry.offset))
                releases += [each for each in behind if each.outcome is None]
        for grant in set(releases):
            grant.outcome = "release"
            self.counts[grant.place] -= 1
        told = (answer.acknowledged, answer.retried + answer.dead, answer.released)
        # What was moved may be acknowledged by another lease meanwhile.
        assert lease.has_cause or told == (len(acks), len(failures), len(set(releases))), (
            f"{settle}: {answer}"
        )

    def given(self, consumer: Consumer, leased: Leased) -> None:
        """Note a lease that the aggregator has given."""
        assert leased.lease is not None
        expires_us = self.now_us() + round(leased.expires_in_s * 1_000_000)
        lease = Lease(consumer, leased.expires_in_s, expires_us)
        self.leases[leased.lease] = lease
        for each in leased.deliveries:
            place = each.topic, each.offset
            self.counts[place] += 1
            assert each.delivery == self.counts[place], f"{each} is not {self.counts[place]}"
            grant = Grant(lease, each, self.epochs[each.topic])
            lease.grants[place] = self.grants[id(each)] = grant

    def given_back(self, leased: Leased) -> None:
        """Note that a lease was released, since its consumer did not get it."""
        assert leased.lease is not None
        lease = self.leases[leased.lease]
        lease.has_cause = True
        for grant in lease.grants.values():
            if grant.epoch == self.epochs[grant.place[0]]:
                self.counts[grant.place] -= 1

    def check_held(self, consumer: Consumer) -> None:
        """Check that a consumer does not hold more than it may."""
        now_s = asyncio.get_running_loop().time()
        held = sum(
            len(lease.undecided())
            for lease in self.leases.values()
            if lease.consumer is consumer and lease.local_until_s is not None
            if not lease.is_known_to_be_lost(now_s)
        )
        assert held <= 2 * consumer.max_events, f"{held} are held"


class _ConsumerWatch(Watch):
    """Watches the requests of a consumer.

    Args:
        judge: who is told.
        consumer: whose they are.
    """

    def __init__(self, judge: Judge, consumer: Consumer) -> None:
        self._judge = judge
        self._consumer = consumer

    def sent(self, sent: Sent) -> None:
        """A request is on its way."""
        consumer = self._consumer
        if sent.kind in {"lease", "carry"}:
            consumer.leasing += 1
            assert consumer.leasing == 1, "two requests for a lease at once"
            assert sent.max_events <= consumer.max_events
        if sent.settle is not None:
            consumer.settling += 1
            assert consumer.settling == 1, "two settles at once"
            self._judge.check_settle(consumer, sent.settle)

    def done(self, sent: Sent) -> None:
        """The aggregator has done it, or refused it."""
        judge, answer = self._judge, sent.answer
        if isinstance(answer, LeaseLost):
            assert sent.settle is not None
            lease = judge.leases[sent.settle.lease]
            now_s = asyncio.get_running_loop().time()
            assert lease.may_be_lost(now_s, judge.now_us()), "refused without a cause"
        else:
            assert not isinstance(answer, Exception), f"{sent.settle} is refused: {answer}"
        settled = answer.settled if isinstance(answer, Leased) else answer
        if isinstance(settled, Settled):
            assert sent.settle is not None
            judge.settled(sent.settle, settled)
        if (leased := leased_of(sent)) is not None:
            judge.given(self._consumer, leased)
        judge.check_law()

    def given_back(self, sent: Sent) -> None:
        """The lease that it gave was released."""
        leased = leased_of(sent)
        assert leased is not None
        self._judge.given_back(leased)

    def over(self, sent: Sent) -> None:
        """Its sender goes on."""
        consumer, now_s = self._consumer, asyncio.get_running_loop().time()
        if sent.kind in {"lease", "carry"}:
            consumer.leasing -= 1
        if sent.settle is not None:
            consumer.settling -= 1
            lease = self._judge.leases[sent.settle.lease]
            if not is_empty(sent.settle):
                consumer.unanswered = None if sent.is_told else sent.settle
            if sent.is_told and isinstance(sent.answer, LeaseLost):
                lease.is_refused = True
            elif sent.is_told and not lease.is_known_to_be_lost(now_s):
                until_s = sent.begun_s + (sent.settle.extend_ms or 0) / 1000
                lease.local_until_s = max(lease.local_until_s or 0.0, until_s)
        leased = leased_of(sent)
        if leased is not None and sent.is_told:
            assert leased.lease is not None
            lease = self._judge.leases[leased.lease]
            lease.local_until_s = max(sent.begun_s + lease.lease_s, now_s + lease.lease_s / 2)
            self._judge.check_held(consumer)


def _named(lease: Lease, ranges: Sequence[Range]) -> list[Grant]:
    """Return the events of a lease that ranges name."""
    return [
        grant
        for topic, first, last in ranges
        for (name, offset), grant in lease.grants.items()
        if name == topic and first <= offset <= last
    ]
