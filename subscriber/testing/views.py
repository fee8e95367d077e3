"""Subscriptions, dead letters and moves as tests look at them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from storage.subscriptions.model import FailedEvent, Subscription, TopicView
from subscriber.events import Event, parse_event
from subscriber.testing.settings import settings_members
from subscriber.testing.times import moment_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The counts of a topic of a subscription, or of all of them.

    `head - start == acknowledged + dead + leased + waiting`.

    Args:
        head: the head offset; the sum of them, of all topics.
        start: the offset behind which the subscription begins.
        acknowledged, dead, leased, waiting: numbers of events.
        redelivered: deliveries after the first, without those that were released.
    """

    head: int
    start: int
    acknowledged: int
    dead: int
    leased: int
    waiting: int
    redelivered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionStatus(Counts):
    """A subscription, with the counts of all of its topics.

    Args:
        name: its name.
        settings: as JSON has them, with defaults filled in.
        state: `active` or `paused`.
        reason: why it is paused; None: it is active.
        topics: by name, the counts of its topics that exist.
    """

    name: str
    settings: Mapping[str, Any]
    state: str
    reason: str | None
    topics: Mapping[str, Counts]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that was declared dead.

    Args:
        topic, offset: the event.
        deliveries: how often it was handed out.
        first_error, last_error: why its handling failed, the first and the last time that this was
            said; None: it was never said.
        first_failed_at, dead_at: when, in UTC.
        event: the event itself.
    """

    topic: str
    offset: int
    deliveries: int
    first_error: str | None
    last_error: str | None
    first_failed_at: datetime
    dead_at: datetime
    event: Event


class Sought(NamedTuple):
    """What a seek does, or would do.

    Args:
        again: events that will come although they were not to come any more.
        skipped: events that were to come and will not.
    """

    again: int
    skipped: int


class Revived(NamedTuple):
    """What a retry of dead letters has done.

    Args:
        retried: dead letters that wait again.
        left: those asked for that are still dead, since 10,000 are retried at a time.
    """

    retried: int
    left: int


def status_of(
    subscription: Subscription, views: Sequence[TopicView], now_us: int
) -> SubscriptionStatus:
    """Count a subscription.

    Args:
        subscription: without the state of its topics.
        views: its topics.
        now_us: the time.
    """
    topics = {view.topic: _counts(view, now_us) for view in views}
    sums = {
        field: sum(getattr(counts, field) for counts in topics.values())
        for field in Counts.__dataclass_fields__
    }
    return SubscriptionStatus(
        name=subscription.name,
        settings=settings_members(subscription.settings),
        state="active" if subscription.reason is None else "paused",
        reason=subscription.reason,
        topics=topics,
        **sums,
    )


def dead_letter(failed: FailedEvent, line: bytes) -> DeadLetter:
    """Return a dead letter.

    Args:
        failed: what is kept of it.
        line: its event, as a JSON object.
    """
    return DeadLetter(
        topic=failed.topic,
        offset=failed.offset,
        deliveries=failed.deliveries,
        first_error=failed.first_error,
        last_error=failed.last_error,
        first_failed_at=moment_of(failed.first_failed_us),
        dead_at=moment_of(failed.dead_us or 0),
        event=parse_event(line),
    )


def _counts(view: TopicView, now_us: int) -> Counts:
    state = view.state
    leased = state.leased(now_us)
    return Counts(
        head=view.head,
        start=state.start,
        acknowledged=state.acknowledged,
        dead=state.dead,
        leased=leased,
        waiting=view.head - state.next_offset + state.unsettled - leased,
        redelivered=state.redelivered,
    )
