"""Changes of a lease as a whole: it is held longer, or was never as large as it was given."""

from collections.abc import Sequence

from storage.subscriptions.model import TopicState, Unsettled
from storage.subscriptions.ranges import merged


def hold_longer(state: TopicState, lease: str, until_us: int) -> TopicState:
    """Let a lease last, in one topic, until a time at least."""
    if not any(each.lease == lease and each.until_us < until_us for each in state.ranges):
        return state
    return with_ranges(
        state,
        [
            Unsettled(
                each.first, each.last, each.deliveries, until_us, lease, each.size, each.failed
            )
            if each.lease == lease and each.until_us < until_us
            else each
            for each in state.ranges
        ],
    )


def shrink(state: TopicState, lease: str, size: int) -> TopicState:
    """Let a lease be, in one topic, as if it had been given with so many events."""
    return with_ranges(
        state,
        [
            Unsettled(
                each.first, each.last, each.deliveries, each.until_us, lease, size, each.failed
            )
            if each.lease == lease
            else each
            for each in state.ranges
        ],
    )


def with_ranges(state: TopicState, ranges: Sequence[Unsettled]) -> TopicState:
    """Return a state with other ranges, and with counts as they are."""
    return TopicState(
        state.start,
        state.next_offset,
        state.acknowledged,
        state.dead,
        state.redelivered,
        merged(ranges),
    )
