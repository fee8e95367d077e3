"""What a database keeps of a subscription, held against the model of it.

Where docs/use/subscriptions.md leaves something open, the model takes it from here; everything else
must agree with it.
"""

from collections.abc import Sequence
from itertools import pairwise

from msgspec.structs import replace

from storage.subscriptions.model import FailedEvent, Subscription, TopicState, TopicView, Unsettled
from support.subscription_model import EventRecord, Fate, SubscriptionRecord, TopicRecord


def compare(
    record: SubscriptionRecord, stored: Subscription, views: Sequence[TopicView], now_us: int
) -> None:
    """Hold all that is kept of a subscription against its model.

    Args:
        record: the model; what was open in it is settled then.
        stored: as it is in the database.
        views: its topics, from the same snapshot.
        now_us: the time of the snapshot.
    """
    assert (stored.name, stored.id) == (record.name, record.id)
    assert stored.settings == record.settings
    assert [view.topic for view in views] == record.selected(), (
        "other topics than are selected [14]"
    )
    for view in views:
        Comparison(record, view, now_us).run()
    adopt_subscription(record, stored)


def adopt_subscription(record: SubscriptionRecord, stored: Subscription) -> None:
    """Take over whether a subscription is paused, which must be one of what it may be [40]."""
    assert stored.dead_in_row in record.dead_in_row, (stored.dead_in_row, record.dead_in_row)
    record.dead_in_row = {stored.dead_in_row}
    if record.paused is not None:
        assert (stored.reason is not None) == record.paused, f"paused: {stored.reason!r}"
    if record.reason is not None:
        assert stored.reason == record.reason, "one that is paused keeps its reason"
    record.paused = stored.reason is not None
    record.reason = stored.reason


class Comparison:
    """A topic of a subscription in a snapshot, and the same in the model."""

    def __init__(self, record: SubscriptionRecord, view: TopicView, now_us: int) -> None:
        self.record = record
        self.name = view.topic
        self.view = view
        self.state: TopicState = view.state
        self.now_us = now_us
        self.topic: TopicRecord = record.topic(view.topic)

    def run(self) -> None:
        """Compare them; the model takes over what was open."""
        head = self.record.log.head(self.name)
        assert self.view.head == head
        assert self.state.start == self.topic.start, f"start of {self.name}: {self.state.start}"
        self.check_form(head)
        found_dead = 0
        kept = {o: each for each in self.state.ranges for o in range(each.first, each.last + 1)}
        for offset, event in self.record.events(self.name):
            if (stored := kept.get(offset)) is not None:
                self.check_kept(offset, event, stored)
            else:
                found_dead += self.check_not_kept(offset, event)
        if found_dead:
            self.record.note_dead({each + found_dead for each in self.record.dead_in_row})
        self.check_counts(head)

    def check_form(self, head: int) -> None:
        """The law, and the form of what is kept [1]."""
        state = self.state
        assert 0 <= state.start <= state.next_offset <= head
        leased = state.leased(self.now_us)
        waiting = head - state.next_offset + state.unsettled - leased
        assert head - state.start == state.acknowledged + state.dead + leased + waiting, "the law"
        for one in state.ranges:
            assert state.start < one.first <= one.last <= state.next_offset, one
        for one, other in pairwise(state.ranges):
            assert one.last < other.first, (one, other)
            alike = replace(one, first=other.first, last=other.last) == other
            assert one.last + 1 < other.first or not alike, f"two in place of one: {one}"

    def check_kept(self, offset: int, event: EventRecord, stored: Unsettled) -> None:
        """An event that is kept as unsettled."""
        what = self.name, offset, stored, "is kept of", event
        assert event.handed, what
        assert not event.fate.is_settled, what
        assert stored.deliveries == event.deliveries, what
        if stored.lease:
            assert event.lease is not None, what
            held = event.lease.id, event.lease.until_us, event.lease.size
            assert (stored.lease, stored.until_us, stored.size) == held, what
            return
        assert not self.record.is_leased(event, self.now_us), what
        assert not self.record.dies(event, self.now_us), what
        due_us = self.record.due_us(event)
        # What may be handed out at once, may be so from any time on that is past.
        assert stored.until_us == due_us or max(stored.until_us, due_us) <= self.now_us, what
        limits = self.record.limits(event)
        assert stored.size in limits, (what, limits)
        event.wait(due_us, frozenset({stored.size}))

    def check_not_kept(self, offset: int, event: EventRecord) -> int:
        """An event that is settled, passed, or was never handed out; whether it was found dead."""
        what = self.name, offset, "nothing is kept of", event
        if event.fate.is_settled:
            assert offset <= self.state.next_offset, what
            return 0
        if offset > self.state.next_offset:
            # What was released and not delivered may be as if it never had been handed out.
            assert not event.handed or (event.deliveries == 0 and event.lease is None), what
            event.handed = False
            return 0
        if self.record.dies(event, self.now_us):
            event.end(Fate.DEAD)
            event.ran_out = True
            return 1
        assert not self.record.is_leased(event, self.now_us), what
        assert not self.record.is_to_come(self.name, offset, event), ("passed over", what)
        event.handed = True
        event.end(Fate.ACKNOWLEDGED)
        return 0

    def check_counts(self, head: int) -> None:
        """Every count of the topic, and what is the oldest [14]."""
        state, topic = self.state, self.topic
        told = (state.acknowledged, state.dead, state.redelivered, state.leased(self.now_us))
        counted = (
            topic.count(Fate.ACKNOWLEDGED),
            topic.count(Fate.DEAD),
            topic.redelivered,
            self.record.leased(self.now_us, [self.name]),
        )
        assert told == counted, f"{self.name}: {told}, but acknowledged, dead, … are {counted}"
        open_ = (
            offset for offset, event in self.record.events(self.name) if not event.fate.is_settled
        )
        oldest = next(open_, head + 1)
        assert state.place == oldest - 1, f"{self.name}: the place is {state.place}"
        assert self.view.oldest_us == self.record.log.stored_us(self.name, oldest)


def compare_dead(record: SubscriptionRecord, stored: Sequence[FailedEvent]) -> None:
    """Hold the dead letters that are stored against the model [36]."""
    dead = [
        (name, offset, event)
        for name in record.selected()
        for offset, event in record.events(name)
        if event.fate is Fate.DEAD
    ]
    assert [(each.topic, each.offset) for each in stored] == [each[:2] for each in dead]
    for letter, (*_, event) in zip(stored, dead, strict=True):
        assert letter.deliveries == event.deliveries, (letter, event)
        errors, all_errors = event.errors, event.former_errors + event.errors
        if errors or not event.ran_out:
            assert letter.first_error in {first(errors), first(all_errors)}, (letter, event)
        if not event.ran_out:
            last = {first(errors[::-1]), first(all_errors[::-1])}
            assert letter.last_error in last, (letter, event)
        assert event.dead_us in {0, letter.dead_us}, (letter, event)
        assert letter.dead_us is not None
        assert letter.first_failed_us <= letter.dead_us, (letter, event)


def first(errors: Sequence[str]) -> str | None:
    """The first of some errors; None: there is none."""
    return errors[0] if errors else None
