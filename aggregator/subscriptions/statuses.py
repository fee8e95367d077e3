"""Statuses of subscriptions: their counts, from one snapshot of the database."""

from collections.abc import Sequence

from aggregator.wire.subscription_answers import SubscriptionStatus, TopicCounts
from storage.model import TOPICS_PER_PAGE
from storage.protocols import SubscriptionStore
from storage.subscriptions.model import SubscriptionView, TopicView

_US_PER_S = 1_000_000


class _Summed:
    """Sums of what was looked at, and the views of one page of topics.

    Args:
        topics_after: the name behind which the page begins.
    """

    def __init__(self, topics_after: str) -> None:
        self._topics_after = topics_after
        self.views: list[TopicView] = []
        """Those of the page, and all that have something leased."""
        self.page: list[str] = []
        self.more = False
        self.topics = 0
        self.head = self.start = self.acknowledged = self.dead = 0
        self.redelivered = self.unsettled = self.above = 0
        self.oldest_us: int | None = None

    def view(self, views: Sequence[TopicView]) -> None:
        """Add some topics."""
        for each in views:
            state = each.state
            self.topics += 1
            self.head += each.head
            self.start += state.start
            self.acknowledged += state.acknowledged
            self.dead += state.dead
            self.redelivered += state.redelivered
            self.unsettled += state.unsettled
            self.above += each.head - state.next_offset
            if each.oldest_us is not None and (
                self.oldest_us is None or each.oldest_us < self.oldest_us
            ):
                self.oldest_us = each.oldest_us
            in_page = each.topic > self._topics_after and len(self.page) < TOPICS_PER_PAGE
            if in_page:
                self.page.append(each.topic)
            elif each.topic > self._topics_after:
                self.more = True
            if in_page or any(of_range.lease for of_range in state.ranges):
                self.views.append(each)


async def status_of(
    store: SubscriptionStore, name: str, topics_after: str
) -> SubscriptionStatus | None:
    """Read a subscription with its counts; None if there is none of this name.

    Args:
        store: is looked at.
        name: of the subscription.
        topics_after: the name behind which the page of its topics begins.

    Raises:
        StorageError: the store failed.
    """
    summed = _Summed(topics_after)
    seen = await store.view_topics(name, summed.view)
    if seen is None:
        return None
    leased = sum(each.state.leased(seen.now_us) for each in summed.views)
    lag = summed.above + summed.unsettled
    page = set(summed.page)
    return SubscriptionStatus(
        subscription=seen.subscription,
        totals=TopicCounts(
            head=summed.head,
            start=summed.start,
            acknowledged=summed.acknowledged,
            dead=summed.dead,
            leased=leased,
            waiting=lag - leased,
            expired=0,
            redelivered=summed.redelivered,
            lag_events=lag,
            lag_seconds=_lag_seconds(lag, summed.oldest_us, seen),
        ),
        topics={each.topic: _counts(each, seen) for each in summed.views if each.topic in page},
        topics_total=summed.topics,
        more=summed.more,
    )


def _counts(view: TopicView, seen: SubscriptionView) -> TopicCounts:
    state = view.state
    leased = state.leased(seen.now_us)
    lag = view.head - state.next_offset + state.unsettled
    return TopicCounts(
        head=view.head,
        start=state.start,
        acknowledged=state.acknowledged,
        dead=state.dead,
        leased=leased,
        waiting=lag - leased,
        expired=0,
        redelivered=state.redelivered,
        lag_events=lag,
        lag_seconds=_lag_seconds(lag, view.oldest_us, seen),
    )


def _lag_seconds(lag: int, oldest_us: int | None, seen: SubscriptionView) -> float:
    return max(0, seen.now_us - oldest_us) / _US_PER_S if lag and oldest_us is not None else 0.0
