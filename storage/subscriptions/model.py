"""Subscriptions as types: their settings, and the state that is kept of each of their topics.

Times are whole microseconds since 1970-01-01T00:00:00Z (`_us`), by the clock of the database.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Order(StrEnum):
    """Whether the order of a topic is kept, or consumers compete for each of its events."""

    TOPIC = "topic"
    NONE = "none"


class OnDead(StrEnum):
    """What a dead letter does to its topic."""

    CONTINUE = "continue"
    PAUSE = "pause"


class Beginning(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a subscription begins, as it was given; exactly one of these is set.

    Args:
        at: `start` or `now`.
        since: a time, as ISO 8601 with microseconds in UTC, or a duration as it was given.
        offsets: offsets by topic; delivery begins behind them.
    """

    at: str | None = None
    since: str | None = None
    offsets: Mapping[str, int] | None = None


class SubscriptionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a subscription, each valid by itself.

    Args:
        topics: names and patterns, each once, sorted.
        begins: where it begins.
        source: only events of this source; None: all.
        order: see `Order`.
        lease_ms: how long a lease lasts, in milliseconds.
        max_deliveries: deliveries after which an event is dead.
        backoff_ms: milliseconds before redelivery 1, 2, …; the last repeats. Not empty.
        on_dead: see `OnDead`.
        stop_after_dead: so many dead in a row pause the subscription; None: none do.
        max_leased: events leased at once.
    """

    topics: tuple[str, ...]
    begins: Beginning = Beginning(at="now")
    source: str | None = None
    order: Order = Order.TOPIC
    lease_ms: int = 30_000
    max_deliveries: int = 5
    backoff_ms: tuple[int, ...] = (0, 1000, 10_000, 60_000)
    on_dead: OnDead = OnDead.CONTINUE
    stop_after_dead: int | None = 100
    max_leased: int = 10_000

    def rule_broken(self) -> str | None:
        """Return the rule that the settings break together, as a sentence; or None."""
        if self.on_dead is OnDead.PAUSE and self.order is not Order.TOPIC:
            return (
                'on_dead "pause" needs order "topic": without an order no event waits for another'
            )
        return None


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription without the state of its topics.

    Args:
        name: its name.
        id: a UUID; of two that had the same name one after the other, each has its own.
        settings: as they are now.
        reason: why it is paused; None: it is active.
        dead_in_row: dead letters since the last acknowledgement.
    """

    name: str
    id: str
    settings: SubscriptionSettings
    reason: str | None = None
    dead_in_row: int = 0


class Unsettled(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A range of events that were handed out, or handed back, and are not settled.

    Args:
        first, last: offsets.
        deliveries: how often each was handed out, this time included.
        until_us: when the lease runs out; if none has them, when they may be handed out again.
        lease: the id of the lease; "": none has them.
        size: leased: events of the lease. Else: events that a lease with them may have at most;
            0: any number.
        failed: whether an error is kept of any of them.
    """

    first: int
    last: int
    deliveries: int
    until_us: int
    lease: str = ""
    size: int = 0
    failed: bool = False

    @property
    def count(self) -> int:
        """Number of its events."""
        return self.last - self.first + 1


class TopicState(msgspec.Struct, frozen=True, gc=False):
    """What a subscription keeps of one of its topics.

    `next_offset - start == acknowledged + dead + unsettled`; what is above `next_offset` was never
    handed out.

    Args:
        start: the offset behind which it begins.
        next_offset: the last offset that was handed out or passed over.
        acknowledged: number of events acknowledged or left out by the filter.
        dead: number of dead letters.
        redelivered: deliveries after the first, without those that were released.
        ranges: what is not settled up to `next_offset`, ascending; neighbours that agree in all but
            their offsets are one.
    """

    start: int = 0
    next_offset: int = 0
    acknowledged: int = 0
    dead: int = 0
    redelivered: int = 0
    ranges: tuple[Unsettled, ...] = ()

    @property
    def unsettled(self) -> int:
        """Number of events up to `next_offset` that are not settled."""
        return sum([each.last - each.first + 1 for each in self.ranges])

    @property
    def place(self) -> int:
        """The offset up to which everything is settled."""
        return self.ranges[0].first - 1 if self.ranges else self.next_offset

    def leased(self, now_us: int) -> int:
        """Number of events in leases that have not run out."""
        return sum(each.count for each in self.ranges if each.lease and each.until_us > now_us)

    def due_us(self, settings: SubscriptionSettings) -> int | None:
        """Return the earliest time at which something up to `next_offset` may be handed out.

        None: never, as things are. What a lease that runs out has may still have its backoff before
        it.
        """
        if not self.ranges or is_stopped(self, settings):
            return None
        if settings.order is Order.NONE:
            return min([each.until_us for each in self.ranges])
        # The first waits for whoever has a lease, and all others wait for the first.
        leased = [each.until_us for each in self.ranges if each.lease]
        return min(leased) if leased else self.ranges[0].until_us

    def holds_new(self, settings: SubscriptionSettings) -> bool:
        """Return whether events above `next_offset` have to wait for those up to it."""
        if settings.order is Order.TOPIC and self.ranges:
            return True
        return is_stopped(self, settings)


def is_stopped(state: TopicState, settings: SubscriptionSettings) -> bool:
    """Return whether a topic hands out nothing, for it has a dead letter."""
    return state.dead > 0 and settings.on_dead is OnDead.PAUSE


class TopicView(msgspec.Struct, frozen=True):
    """A topic of a subscription as a snapshot of the database has it.

    Args:
        topic: its name.
        head: its head offset.
        state: what is kept of it; as it begins, where nothing is.
        oldest_us: when the event behind the place was stored; None: there is none.
    """

    topic: str
    head: int
    state: TopicState
    oldest_us: int | None


class SubscriptionView(msgspec.Struct, frozen=True):
    """A subscription as a snapshot of the database has it, and the time of the snapshot."""

    subscription: Subscription
    now_us: int


class FailedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event whose handling failed; a dead letter, or on its way to be one.

    Args:
        topic, offset: the event.
        deliveries: how often it was handed out.
        first_error, last_error: texts of at most 4,000 characters; None: none was given.
        first_failed_us: when it failed first.
        dead_us: when it was declared dead; None: it is not.
    """

    topic: str
    offset: int
    deliveries: int
    first_error: str | None
    last_error: str | None
    first_failed_us: int
    dead_us: int | None


class SettleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A settle that was done, so that the same is answered alike.

    Args:
        lease: the id of the lease.
        digest: of what it settled.
        consumer: the label.
        at_us: when.
        ended: whether nothing of the lease was left.
        acknowledged, retried, dead, released: the answer.
    """

    lease: str
    digest: bytes
    consumer: str
    at_us: int
    ended: bool
    acknowledged: int
    retried: int
    dead: int
    released: int
