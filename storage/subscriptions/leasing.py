"""Leases: which events of a subscription are handed out next.

Everything here is arithmetic with ranges of offsets, so that a lease of ten thousand events costs
what one of ten does.
"""

from collections.abc import Sequence
from operator import attrgetter

from storage.subscriptions.commands import Lease, Window
from storage.subscriptions.deliveries import largest_lease
from storage.subscriptions.model import (
    Order,
    SubscriptionSettings,
    TopicState,
    Unsettled,
    is_stopped,
)
from storage.subscriptions.outcomes import Granted
from storage.subscriptions.ranges import merged, part

MAX_TOPICS = 32
"""Topics of a lease."""

_first = attrgetter("first")


class Draft:
    """A topic as a lease takes events from it.

    Args:
        topic: its name.
        state: as it is before, with what has run out handed back.
        head: its head offset.
    """

    __slots__ = (
        "acknowledged",
        "head",
        "kept",
        "next_offset",
        "redelivered",
        "state",
        "taken",
        "topic",
    )

    def __init__(self, topic: str, state: TopicState, head: int) -> None:
        self.topic = topic
        self.state = state
        self.head = head
        self.kept: Sequence[Unsettled] = state.ranges
        """What is unsettled and not taken."""
        self.taken: list[Unsettled] = []
        """What is taken, with the deliveries before this one."""
        self.next_offset = state.next_offset
        self.acknowledged = state.acknowledged
        self.redelivered = state.redelivered

    def leased(self, lease: str, expires_us: int, size: int) -> TopicState:
        """Return its state with what was taken leased.

        Args:
            lease: the id of the lease.
            expires_us: when it runs out.
            size: events of the whole lease.
        """
        state = self.state
        if not self.taken and self.next_offset == state.next_offset:
            return state
        taken = [
            Unsettled(
                each.first, each.last, each.deliveries + 1, expires_us, lease, size, each.failed
            )
            for each in self.taken
        ]
        return TopicState(
            state.start,
            self.next_offset,
            self.acknowledged,
            state.dead,
            self.redelivered,
            merged(sorted([*self.kept, *taken], key=_first) if self.kept else taken),
        )


class Grants:
    """What one lease hands out, topic by topic.

    Args:
        command: the lease.
        settings: of the subscription.
        now_us: the time.
        leased: events of the subscription that are leased already.
        unsettled: events of it that are leased, or were handed back.
    """

    def __init__(
        self,
        command: Lease,
        settings: SubscriptionSettings,
        *,
        now_us: int,
        leased: int,
        unsettled: int,
    ) -> None:
        self._settings = settings
        self._now_us = now_us
        self._windows = command.windows
        self._room = max(0, min(command.max_events, settings.max_leased - leased))
        self._room_for_new = max(0, settings.max_leased - unsettled)
        self._limit = 0
        """Events that the lease may have for the sake of those in it; 0: any number."""
        self._topics: set[str] = set()
        self.granted: list[Granted] = []
        """What is handed out, in order."""
        self.size = 0
        """Number of these events."""
        self.scan: dict[str, int] = {}
        """See `storage.subscriptions.outcomes.Leased`."""

    def take(self, drafts: Sequence[Draft]) -> None:
        """Take from topics, one after the other, as long as there is room.

        Args:
            drafts: the topics, in the order in which to take.
        """
        if self._settings.order is Order.TOPIC:
            for draft in drafts:
                if not any(each.lease for each in draft.kept) and self._take_waiting(draft):
                    self._take_new(draft)
        else:
            # What failed comes ahead of what is new, in all topics.
            for draft in drafts:
                self._take_waiting(draft)
            if not any(self._may_come(each) for draft in drafts for each in draft.kept):
                for draft in drafts:
                    self._take_new(draft)

    def has_more(self, draft: Draft) -> bool:
        """Return whether a topic may have more for somebody else, now."""
        if self._is_stopped(draft):
            return False
        if self._settings.order is Order.NONE:
            return draft.head > draft.next_offset or any(map(self._may_come, draft.kept))
        if draft.taken or any(each.lease for each in draft.kept):
            return False
        return self._may_come(draft.kept[0]) if draft.kept else draft.head > draft.next_offset

    def _may_come(self, each: Unsettled) -> bool:
        return not each.lease and each.until_us <= self._now_us

    def _take_waiting(self, draft: Draft) -> bool:
        """Take what waits to be handed out again; return whether all of it was taken."""
        if not draft.kept:
            return True
        if self._is_stopped(draft):
            return False
        in_order = self._settings.order is Order.TOPIC
        kept: list[Unsettled] = []
        ranges = draft.kept
        for index, each in enumerate(ranges):
            count = 0
            if self._may_come(each):
                count = self._offer(draft, each.count, largest_lease(each, self._settings))
            if count:
                self._grant(draft, part(each, each.first, each.first + count - 1))
            if count < each.count:
                kept.append(part(each, each.first + count, each.last))
                if in_order:
                    # Nothing is handed out ahead of what waits.
                    kept.extend(ranges[index + 1 :])
                    break
        draft.kept = kept
        return not kept

    def _take_new(self, draft: Draft) -> None:
        """Take what was never handed out."""
        if self._is_stopped(draft) or draft.head <= draft.next_offset:
            return
        source = self._settings.source
        if source is None:
            count = self._offer(draft, draft.head - draft.next_offset, 0, new=True)
            if count:
                self._pass(draft, draft.next_offset + 1, draft.next_offset + count)
            return
        window = self._windows.get(draft.topic)
        following = draft.next_offset + 1
        if (
            window is None
            or window.source != source
            or not window.first <= following <= window.last
        ):
            if self._offer(draft, 1, 0, new=True):
                self.scan[draft.topic] = draft.next_offset
            return
        self._take_matches(draft, window)

    def _take_matches(self, draft: Draft, window: Window) -> None:
        for first, last in window.matches:
            first = max(first, draft.next_offset + 1)  # noqa: PLW2901 - as it is left of it
            if last < first:
                continue
            count = self._offer(draft, last - first + 1, 0, new=True)
            if count:
                # What lies before it is left out by the filter, and passed now.
                draft.acknowledged += first - draft.next_offset - 1
                self._pass(draft, first, first + count - 1)
            if first + count <= last:
                return
        # None of the rest of the stretch passes the filter.
        draft.acknowledged += window.last - draft.next_offset
        draft.next_offset = window.last
        if draft.head > window.last:
            self.scan[draft.topic] = window.last

    def _pass(self, draft: Draft, first: int, last: int) -> None:
        self._room_for_new -= last - first + 1
        self._grant(draft, Unsettled(first, last, 0, 0))
        draft.next_offset = last

    def _grant(self, draft: Draft, taken: Unsettled) -> None:
        draft.taken.append(taken)
        if taken.deliveries:
            draft.redelivered += taken.count
        self.granted.append(Granted(draft.topic, taken.first, taken.last, taken.deliveries + 1))
        self.size += taken.count
        self._topics.add(draft.topic)

    def _offer(self, draft: Draft, count: int, limit: int, *, new: bool = False) -> int:
        """Return how many events of a range there is room for.

        Args:
            draft: their topic.
            count: of the range.
            limit: events that a lease with any of them may have; 0: any number.
            new: whether they were never handed out.
        """
        if draft.topic not in self._topics and len(self._topics) == MAX_TOPICS:
            return 0
        if self.size and bool(limit) != bool(self._limit):
            # A lease that is small for the sake of some has none that need not suffer for them.
            return 0
        room = self._room - self.size
        limit = min(limit, self._limit) if self.size else limit
        if limit:
            room = min(room, limit - self.size)
        if new:
            room = min(room, self._room_for_new)
        taken = max(0, min(count, room))
        if taken:
            self._limit = limit
        return taken

    def _is_stopped(self, draft: Draft) -> bool:
        return is_stopped(draft.state, self._settings)
