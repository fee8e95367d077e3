"""What this process knows of subscriptions that are in use: where there may be something to lease.

It is a hint. What is leased is decided in the database, whatever is known here; and nothing that is
known here is older than a second when it is used to say that there is nothing.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from aggregator.subscriptions.wakeups import Sleepers
from storage.protocols import SubscriptionStore
from storage.subscriptions.model import Subscription, TopicView
from storage.subscriptions.outcomes import Leased
from storage.topic_patterns import TopicSelection

MAX_CANDIDATES = 100
"""Topics that a lease is tried on. A subscription to no more of them is always seen as a whole."""

_MAX_READY = 1000
"""Topics that are remembered to have something, of a subscription to more than can be tried."""

_STALE_S = 1.0

_LOOK_PAUSES = 10
"""Behind a look that takes long, for there are very many topics, the next comes so much later."""

MIN_POLL_PAUSE_S = 0.05
"""Between two polls that found something for a subscription."""

_MAX_KNOWN = 1000
"""Subscriptions of which something is remembered."""


class KnownSubscription:
    """A subscription as it was seen last.

    Args:
        subscription: as it is.
    """

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.selection = TopicSelection(subscription.settings.topics)
        """The topics of its settings."""
        self.sleepers = Sleepers()
        """Those that wait for something to lease."""
        self.lag_events = 0
        self.oldest_us: int | None = None
        """Of a subscription to many topics: what waits or is leased in all of them, and since when,
        when they were looked at."""
        self.checked_s = 0.0
        """When it was seen last that the subscription is there."""
        self.poll_pause_s = MIN_POLL_PAUSE_S
        self.poll_at_s = 0.0
        """When a poll is to look at it again at the earliest, and how long after that."""
        self.mean_bytes = 0
        """Of its events, as they were leased lately."""
        self._topics: deque[str] = deque(self.selection.names)
        self._is_wide = False
        self._clock = time.time_ns() // 1000, asyncio.get_running_loop().time()
        """What the database's clock said, and when; at first what that of this machine says."""
        self._given_last = ""
        """The topic that gave the last event of the last lease."""
        self._has_run_out = False
        """Whether all that were found ready have been tried since."""
        self._fresh_s = _STALE_S
        """How long what a look found is taken for what is there."""
        self._looked_s: float | None = None
        """When its topics were looked at; None: they are all named, or were not looked at yet."""

    def update(self, subscription: Subscription) -> None:
        """Take notice of what the database has now."""
        if subscription.settings.topics != self.subscription.settings.topics:
            self.selection = TopicSelection(subscription.settings.topics)
            self._topics = deque(self.selection.names)
            self._is_wide = False
            self._looked_s = None
        self.subscription = subscription

    @property
    def sees_all(self) -> bool:
        """Whether a lease is tried on all of its topics."""
        return not self._is_wide

    def candidates(self) -> list[str]:
        """Return topics to try, in turns."""
        return [self._topics[index] for index in range(min(len(self._topics), MAX_CANDIDATES))]

    def seen(self, leased: Leased, tried: Sequence[str]) -> None:
        """Take notice of the outcome of a lease.

        Args:
            leased: the outcome.
            tried: the topics that it was tried on.
        """
        self.update(leased.subscription)
        if leased.granted:
            self.poll_pause_s, self.poll_at_s = MIN_POLL_PAUSE_S, 0.0
        if self._is_wide:
            more = set(leased.more)
            self._topics = deque(
                topic for topic in self._topics if topic in more or topic not in tried
            )
            self._has_run_out = bool(tried) and not self._topics

    def given(self, topic: str) -> None:
        """Let the topics behind the one that gave the last event of a lease have their turn."""
        self._given_last = topic
        if topic in self._topics:
            self._topics.rotate(-1 - self._topics.index(topic))

    def stored(self, topic: str) -> None:
        """Take notice that events were stored in a topic that is selected."""
        if topic not in self._topics and len(self._topics) < _MAX_READY:
            self._topics.append(topic)
            if len(self._topics) > MAX_CANDIDATES:
                self._is_wide = True

    def needs_look(self, *, found_nothing: bool) -> bool:
        """Return whether its topics have to be looked at: only patterns can match unknown ones.

        Args:
            found_nothing: whether those that are known have nothing.
        """
        if not self.selection.prefixes:
            return False
        if self._looked_s is None or self._has_run_out:
            return True
        age_s = asyncio.get_running_loop().time() - self._looked_s
        return age_s >= self._fresh_s and (found_nothing or self._is_wide)

    async def look(self, store: SubscriptionStore) -> bool:
        """Look at all of its topics; return whether there is such a subscription.

        Raises:
            StorageError: the store failed.
        """
        begun_s = asyncio.get_running_loop().time()
        found = _Found(self.subscription, self._given_last, self._now_us(begun_s))
        view = await store.view_topics(self.subscription.name, found.view)
        if view is None:
            return False
        self.update(view.subscription)
        self._is_wide = found.count > MAX_CANDIDATES
        self._has_run_out = False
        if self._is_wide:
            self._topics = deque(found.ready())
        else:
            # In the turns that they had.
            kept = [topic for topic in self._topics if topic in found.topics]
            self._topics = deque([*kept, *(found.topics.keys() - set(kept))])
        self.lag_events, self.oldest_us = found.lag_events, found.oldest_us
        self._looked_s = begun_s
        self._clock = view.now_us, begun_s
        taken_s = asyncio.get_running_loop().time() - begun_s
        self._fresh_s = max(_STALE_S, _LOOK_PAUSES * taken_s)
        return True

    def _now_us(self, at_s: float) -> int:
        """Return about what the database's clock says at a time of the event loop."""
        now_us, then_s = self._clock
        return now_us + int((at_s - then_s) * 1_000_000)


class _Found:
    """What a look finds.

    Args:
        subscription: what is looked at.
        behind: the topic whose followers come first where there are very many.
        now_us: about the time of the database.
    """

    def __init__(self, subscription: Subscription, behind: str, now_us: int) -> None:
        self._settings = subscription.settings
        self._behind = behind
        self._now_us = now_us
        self.count = 0
        self.topics: dict[str, None] = {}
        """Some of them."""
        self._ready: tuple[list[str], list[str]] = ([], [])
        """Topics that may have something: those up to `behind`, and the others."""
        self.lag_events = 0
        self.oldest_us: int | None = None

    def view(self, views: Sequence[TopicView]) -> None:
        """Look at some topics."""
        for each in views:
            self.count += 1
            if self.count <= MAX_CANDIDATES:
                self.topics[each.topic] = None
            state = each.state
            lag = each.head - state.next_offset + state.unsettled
            if not lag:
                continue
            self.lag_events += lag
            if each.oldest_us is not None and (
                self.oldest_us is None or each.oldest_us < self.oldest_us
            ):
                self.oldest_us = each.oldest_us
            due_us = state.due_us(self._settings)
            if each.head > state.next_offset and not state.holds_new(self._settings):
                due_us = 0
            ready = self._ready[each.topic > self._behind]
            if due_us is not None and due_us <= self._now_us and len(ready) < _MAX_READY:
                ready.append(each.topic)

    def ready(self) -> list[str]:
        """Return topics that may have something, those behind the last one first."""
        before, following = self._ready
        return [*following, *before]


class KnownSubscriptions:
    """The subscriptions that are in use in this process, by name."""

    def __init__(self) -> None:
        self.on_waited_for: Callable[[], object] = lambda: None
        """Callback when somebody begins to wait."""
        self._known: OrderedDict[str, KnownSubscription] = OrderedDict()

    def get(self, name: str) -> KnownSubscription | None:
        """Return what is known of a subscription."""
        known = self._known.get(name)
        if known is not None:
            self._known.move_to_end(name)
        return known

    def add(self, subscription: Subscription) -> KnownSubscription:
        """Begin to know a subscription."""
        known = self._known[subscription.name] = KnownSubscription(subscription)
        if len(self._known) > _MAX_KNOWN:
            for name, each in self._known.items():
                if not each.sleepers and each is not known:
                    del self._known[name]
                    break
        return known

    def forget(self, name: str) -> None:
        """Know nothing of a subscription any more; those that wait find out that it is gone."""
        known = self._known.pop(name, None)
        if known is not None:
            known.sleepers.wake_all()

    def waited_for(self) -> list[KnownSubscription]:
        """Return the subscriptions that somebody waits for."""
        return [each for each in self._known.values() if each.sleepers]
