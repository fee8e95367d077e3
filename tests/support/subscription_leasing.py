"""Leases held against the model of a subscription: what may be handed out, and what must be.

The page leaves open which events of several topics come first and how many; what was handed out
must have been allowed, and where something can be, something must be. Numbers in brackets are those
of the sentences of docs/use/subscriptions.md.
"""

from storage.subscriptions.commands import Lease, Window
from storage.subscriptions.outcomes import Leased
from support.subscription_model import (
    MS,
    EventRecord,
    Fate,
    GivenLease,
    SubscriptionRecord,
)

MAX_TOPICS = 32
"""Topics of a lease at most [18]."""


def judge_lease(
    record: SubscriptionRecord,
    command: Lease,
    consumer: str,
    outcome: Leased,
    *,
    partly: bool = False,
) -> None:
    """Check what was leased, and have the model lease it.

    Args:
        record: the model.
        command: what was asked for.
        consumer: the label that the token will have.
        outcome: what was answered.
        partly: whether only what was handed out is known of the outcome.
    """
    LeaseJudge(record, command, outcome).run(consumer, partly=partly)


class LeaseJudge:
    """A lease, and what it may and must hand out."""

    def __init__(self, record: SubscriptionRecord, command: Lease, outcome: Leased) -> None:
        self.record = record
        self.command = command
        self.outcome = outcome
        self.now_us = outcome.now_us
        self.topics = [t for t in command.topics if record.log.head(t) and record.selects(t)]
        self.granted = [
            (one.topic, offset, one.deliveries)
            for one in outcome.granted
            for offset in range(one.first, one.last + 1)
        ]
        self.offsets = {name: [o for n, o, _ in self.granted if n == name] for name in self.topics}

    def run(self, consumer: str, *, partly: bool) -> None:
        """Check everything, and lease it."""
        record = self.record
        if record.paused is not True and (dead := record.find_dead(self.topics, self.now_us)):
            record.note_dead({each + dead for each in record.dead_in_row})
        elif any(map(record.stops_at, record.dead_in_row)) and not record.paused:
            record.paused = None  # A changed number may pause it now.
        if self.granted:
            assert not record.paused, "one that is paused hands out nothing [42]"
            self.check_what_was_handed_out()
            self.check_size()
            self.check_order()
        elif not partly:
            self.check_that_nothing_was_there()
        self.take_over(consumer)
        if not partly:
            self.check_what_comes_next()
            self.check_lag()

    def check_what_was_handed_out(self) -> None:
        """Each event by itself [3], [10], [21]."""
        for one in self.outcome.granted:
            assert one.topic in self.topics, f"{one} is of a topic that was not to be taken from"
            assert 1 <= one.first <= one.last <= self.record.log.head(one.topic), one
        for name, offset, deliveries in self.granted:
            assert offset > self.record.topic(name).start, f"{name} {offset} is before the start"
            event = self.record.topic(name).event(offset)
            what = name, offset, self.now_us, event
            assert not event.fate.is_settled, what
            assert not self.record.is_leased(event, self.now_us), what
            assert self.record.due_us(event) <= self.now_us, what
            assert self.record.is_to_come(name, offset, event), ("left out by the filter", what)
            assert deliveries == event.deliveries + 1, what
            assert not self.record.keeps_back(name), ("behind a dead letter [39]", what)

    def check_size(self) -> None:
        """How many there are [18], [20], [22]."""
        record, size = self.record, len(self.granted)
        assert size <= self.command.max_events
        assert len({name for name, *_ in self.granted}) <= MAX_TOPICS
        events = [record.topic(name).event(offset) for name, offset, _ in self.granted]
        limits = [max(record.limits(each) or {0}) for each in events]
        surely = [min(record.limits(each)) for each in events]
        if any(surely):
            assert all(limits), f"events without the limit of others: {limits} [22]"
            assert size <= min(filter(None, limits)), f"{size} events of limits {limits} [22]"
        if any(map(record.is_last, events)):
            assert size == 1, "an event that may be its last time is not alone [22]"
        most = record.settings.max_leased
        assert record.leased(self.now_us) + size <= most, "more than max_leased [20]"
        if new := sum(not each.handed for each in events):
            again = sum(each.handed for each in events)
            waiting = record.wait_again(self.now_us) - sum(each.deliveries > 0 for each in events)
            assert record.leased(self.now_us) + waiting + again + new <= most, "too many new [20]"

    def check_order(self) -> None:
        """In which order they are [4], [18], [19]."""
        record = self.record
        for name, offsets in self.offsets.items():
            assert offsets == sorted(set(offsets)), f"{name}: {offsets}"
            if not offsets:
                continue
            before = [(o, e) for o, e in record.events(name) if o <= offsets[-1]]
            if record.keeps_order:
                assert not record.leased(self.now_us, [name]), f"{name} is leased already [19]"
                left = [
                    o for o, e in before if self.record.is_to_come(name, o, e) and o not in offsets
                ]
                assert not left, f"{name}: {offsets} without {left} [4]"
            elif not all(record.topic(name).event(offset).handed for offset in offsets):
                left = [o for o, e in before if self.is_due_again(name, o, e) and o not in offsets]
                assert not left, f"{name}: new events of {offsets} ahead of {left} [19]"

    def is_due_again(self, name: str, offset: int, event: EventRecord) -> bool:
        """Whether an event that was handed out before may be so again."""
        return (
            event.handed
            and self.record.is_to_come(name, offset, event)
            and not self.record.is_leased(event, self.now_us)
            and self.record.due_us(event) <= self.now_us
        )

    def take_over(self, consumer: str) -> None:
        """Have the model lease what was handed out."""
        if not self.granted:
            return
        record, outcome = self.record, self.outcome
        assert outcome.expires_us == self.now_us + record.settings.lease_ms * MS, "it ends [21]"
        lease = GivenLease(self.command.lease, consumer, len(self.granted), outcome.expires_us)
        lease.extents = {name: (o[0], o[-1]) for name, o in self.offsets.items() if o}
        record.leases[lease.id] = lease
        for name, offset, deliveries in self.granted:
            event = record.topic(name).event(offset)
            event.fate, event.lease, event.handed = Fate.LEASED, lease, True
            event.deliveries = deliveries
            record.topic(name).redelivered += deliveries > 1

    def check_that_nothing_was_there(self) -> None:
        """Where something may be handed out, something is [2]."""
        if self.record.paused is False:
            there = [name for name in self.topics if self.has_some(name, self.now_us)]
            assert not there, f"nothing was handed out of {there}"

    def has_some(self, name: str, at_us: int) -> bool:
        """Whether a topic surely has something to hand out at a time, if nothing else happens."""
        record = self.record
        if record.keeps_back(name) or (record.keeps_order and record.leased(at_us, [name])):
            return False
        most = record.settings.max_leased
        leased = record.leased(at_us)
        unsettled = sum(len(topic.unsettled()) for topic in record.topics.values())
        for offset, event in record.events(name):
            if not self.record.is_to_come(name, offset, event):
                continue
            free = not record.is_leased(event, at_us) and record.due_us(event) <= at_us
            room = leased < most if event.handed else unsettled < most
            if free and room and (event.handed or self.is_seen(name, offset)):
                return True
            if record.keeps_order:
                return False
        return False

    def is_seen(self, name: str, offset: int) -> bool:
        """Whether the windows of the command say that the filter lets an event through."""
        source = self.record.settings.source
        if source is None:
            return True
        window: Window | None = self.command.windows.get(name)
        if window is None or window.source != source:
            return False
        open_ = (o for o, e in self.record.events(name) if not e.fate.is_settled)
        return window.first <= next(open_, offset) and offset <= window.last

    def check_what_comes_next(self) -> None:
        """What is told of the topics and times at which there is more [17]."""
        outcome, record = self.outcome, self.record
        if record.paused is not False:
            return
        named = {*outcome.more, *outcome.scan}
        there = {name for name in self.topics if self.has_some(name, self.now_us)}
        assert there <= named, f"{there} have more to hand out, but {named} are named"
        kept = [event for name in self.topics for event in record.topic(name).unsettled()]
        times = {record.due_us(event) for event in kept}
        # What a lease had when it ran out leaves room for others.
        times |= {event.lease.until_us for event in kept if event.lease is not None}
        due = min(
            (t for t in times if t > self.now_us and any(self.has_some(n, t) for n in self.topics)),
            default=None,
        )
        if due is not None and not outcome.scan and not (self.granted and named):
            assert outcome.due_us is not None, f"more is there at {due}, and nobody says so"
            assert outcome.due_us <= due, f"more is there at {due}, before {outcome.due_us}"
        if not self.granted and outcome.due_us is not None:
            assert outcome.due_us > self.now_us, "nothing is there, and is said to be there now"

    def check_lag(self) -> None:
        """How many are leased or waiting [14], [25]."""
        settled = passed = total = 0
        for name in self.topics:
            for offset, event in self.record.events(name):
                total += 1
                settled += event.fate.is_settled
                passed += not self.record.passes(name, offset) and not event.fate.is_settled
        # What the filter leaves out may be passed now, or not yet.
        assert total - settled - passed <= self.outcome.lag_events <= total - settled
