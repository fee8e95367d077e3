"""Deliveries that failed: when an event comes again, in which company, and when it is dead."""

from collections.abc import Sequence
from typing import NamedTuple

from storage.subscriptions.model import SubscriptionSettings, TopicState, Unsettled
from storage.subscriptions.ranges import merged

_SHRINK = 10
"""What ran out comes again in leases of that part of its size."""


class RunOut(NamedTuple):
    """A topic whose leases were looked at.

    Args:
        state: with what ran out waiting, or dead.
        dead: the ranges, of one event each, that are dead now.
    """

    state: TopicState
    dead: Sequence[Unsettled]


def run_out(state: TopicState, settings: SubscriptionSettings, now_us: int) -> RunOut:
    """Hand back the events of leases that have run out.

    Args:
        state: of a topic.
        settings: of the subscription.
        now_us: the time.
    """
    if not any(each.lease and each.until_us <= now_us for each in state.ranges):
        return RunOut(state, ())
    ranges: list[Unsettled] = []
    dead: list[Unsettled] = []
    for each in state.ranges:
        if not each.lease or each.until_us > now_us:
            ranges.append(each)
        elif is_dead(each, settings):
            dead.append(each)
        else:
            due_us = each.until_us + backoff_us(settings, each.deliveries)
            size = max(1, each.size // _SHRINK)
            ranges.append(
                Unsettled(each.first, each.last, each.deliveries, due_us, "", size, each.failed)
            )
    return RunOut(
        TopicState(
            state.start,
            state.next_offset,
            state.acknowledged,
            state.dead + len(dead),
            state.redelivered,
            merged(ranges),
        ),
        dead,
    )


def is_dead(leased: Unsettled, settings: SubscriptionSettings) -> bool:
    """Return whether an event is dead if its delivery failed.

    Args:
        leased: a range that is leased; dead can only be one that had a lease of its own.
        settings: of the subscription.
    """
    return leased.size == 1 and leased.deliveries >= settings.max_deliveries


def backoff_us(settings: SubscriptionSettings, deliveries: int) -> int:
    """Return how long an event waits after so many deliveries, in microseconds."""
    backoff_ms = settings.backoff_ms
    return backoff_ms[min(deliveries, len(backoff_ms)) - 1] * 1000


def largest_lease(waiting: Unsettled, settings: SubscriptionSettings) -> int:
    """Return how many events a lease with a waiting range may have; 0: any number."""
    # The last delivery before the count may declare it dead is one of its own.
    if waiting.deliveries and waiting.deliveries >= settings.max_deliveries - 1:
        return 1
    return waiting.size
