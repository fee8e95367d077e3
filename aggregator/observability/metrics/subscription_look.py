"""Looks at the subscriptions of the log for their gauges, one look at a time and not all the time.

A look reads what is kept of every topic of a subscription, so where there are very many it takes
long. It leaves nine tenths of the time to others, and a scrape does not wait for one that takes
longer than a moment: it has what the last one saw.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from aggregator.logging.observer_guard import log_failure
from storage.errors import StorageError
from storage.protocols import SubscriptionStore
from storage.subscriptions.model import SubscriptionView, TopicView

_SHARE = 0.1
"""Of the time, that looks may take."""


@dataclass(slots=True)
class SubscriptionSeen:
    """Counts of one subscription, those of all its topics together.

    Attributes:
        name: its name.
        paused: whether it is.
        leased: events in leases that have not run out.
        waiting: events that are neither leased nor settled.
        acknowledged, dead: events.
        redelivered: deliveries after the first, without those that were released.
        oldest_us: when the oldest event that is leased or waiting was stored; None: there is none.
        now_us: the time of the look, by the database's clock.
    """

    name: str
    paused: bool = False
    leased: int = 0
    waiting: int = 0
    acknowledged: int = 0
    dead: int = 0
    redelivered: int = 0
    oldest_us: int | None = None
    now_us: int = 0

    @property
    def lag_events(self) -> int:
        """Events that are leased or waiting."""
        return self.leased + self.waiting

    @property
    def lag_s(self) -> float:
        """Seconds since the oldest of these was stored; 0 if there is none."""
        if self.oldest_us is None:
            return 0.0
        return max(0, self.now_us - self.oldest_us) / 1_000_000


@dataclass(slots=True)
class SubscriptionsSeen:
    """What a look saw.

    Attributes:
        subscriptions: by name.
        left_out: whether there are more.
    """

    subscriptions: Sequence[SubscriptionSeen]
    left_out: bool


class SubscriptionLook:
    """Looks at the subscriptions.

    Args:
        store: read for them.
        max_subscriptions: those that come first by name; no others are looked at.
    """

    def __init__(self, store: SubscriptionStore, max_subscriptions: int) -> None:
        self.seen: SubscriptionsSeen | None = None
        """What the last look saw; None if it failed, or there was none."""
        self._store = store
        self._max_subscriptions = max_subscriptions
        self._looking: asyncio.Task[None] | None = None
        self._next_s = 0.0

    def start(self) -> asyncio.Task[None]:
        """Return the look under way, or begin one; or return the last, if that is new enough."""
        looking = self._looking
        now_s = asyncio.get_running_loop().time()
        if looking is None or (looking.done() and now_s >= self._next_s):
            self._looking = looking = asyncio.create_task(self._look(), name="subscription-look")
        return looking

    async def aclose(self) -> None:
        """Stop, in the midst of a look if need be."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        begun_s = asyncio.get_running_loop().time()
        try:
            self.seen = await self._see()
        except StorageError:
            self.seen = None
        except Exception as error:  # noqa: BLE001 - without it, scrapes would have no other metric
            log_failure(self._look, error)
            self.seen = None
        ended_s = asyncio.get_running_loop().time()
        self._next_s = ended_s + (ended_s - begun_s) * (1 / _SHARE - 1)

    async def _see(self) -> SubscriptionsSeen:
        found = await self._store.subscriptions(limit=self._max_subscriptions + 1)
        seen = []
        for each in islice(found, self._max_subscriptions):
            sums = _Sums(each.name)
            view = await self._store.view_topics(each.name, sums.add)
            if view is not None:
                seen.append(sums.result(view))
        return SubscriptionsSeen(seen, left_out=len(found) > self._max_subscriptions)


class _Sums:
    """The counts of topics added up; what is leased is known once the time is."""

    def __init__(self, name: str) -> None:
        self._seen = SubscriptionSeen(name)
        self._leases: list[tuple[int, int]] = []

    def add(self, views: Sequence[TopicView]) -> None:
        """Add some topics."""
        seen = self._seen
        for view in views:
            state = view.state
            seen.waiting += view.head - state.next_offset
            seen.acknowledged += state.acknowledged
            seen.dead += state.dead
            seen.redelivered += state.redelivered
            for each in state.ranges:
                seen.waiting += each.count
                if each.lease:
                    self._leases.append((each.until_us, each.count))
            if view.oldest_us is not None:
                seen.oldest_us = min(view.oldest_us, seen.oldest_us or view.oldest_us)

    def result(self, view: SubscriptionView) -> SubscriptionSeen:
        """Return the counts at the time of the snapshot."""
        seen = self._seen
        seen.now_us = view.now_us
        seen.paused = view.subscription.reason is not None
        seen.leased = sum(count for until_us, count in self._leases if until_us > view.now_us)
        seen.waiting -= seen.leased
        return seen
