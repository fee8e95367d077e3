"""The working copy of what a transaction has loaded, as the commands before have left it."""

from functools import lru_cache

from msgspec.structs import replace

from storage.subscriptions.model import (
    Subscription,
    TopicState,
)
from storage.subscriptions.workspace import Changes, Failure, Loaded
from storage.topic_patterns import TopicSelection

ALL = 2**63 - 1
"""No offset is larger."""

_BEGINNING = TopicState()


class WorkingCopy:
    """What was loaded and what has changed of it.

    Args:
        loaded: what `needs` of the commands names.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.changes = Changes()
        """What is to be written."""
        self.loaded = loaded
        self.now_us = loaded.now_us
        self.subscriptions = dict(loaded.subscriptions)
        self.states = dict(loaded.states)
        self.records = dict(loaded.records)
        """Settles that were done, by lease and digest."""
        self.ended = set(loaded.ended)
        """Leases that a settle has ended."""

    def state(self, subscription: Subscription, topic: str) -> TopicState:
        """Return the state of a topic; as it begins, where nothing is kept."""
        return self.states.get((subscription.id, topic), _BEGINNING)

    def states_of(self, subscription: Subscription) -> dict[str, TopicState]:
        """Return the states of a subscription that were loaded or put."""
        return {
            topic: state for (id_, topic), state in self.states.items() if id_ == subscription.id
        }

    def put(self, subscription: Subscription, topic: str, state: TopicState | None) -> None:
        """Put the state of a topic; None: nothing is kept of it any more."""
        key = subscription.id, topic
        self.changes.states[key] = state
        if state is None:
            self.states.pop(key, None)
        else:
            self.states[key] = state

    def keep(self, subscription: Subscription) -> None:
        """Put a subscription."""
        self.subscriptions[subscription.name] = subscription
        self.changes.subscriptions[subscription.name] = subscription

    def forget(self, subscription: Subscription, topic: str, first: int, last: int) -> None:
        """Keep nothing of the failures of a range of offsets."""
        self.changes.forgotten.append((subscription.id, topic, first, last))
        failures = self.changes.failures
        for key in [key for key in failures if key[:2] == (subscription.id, topic)]:
            if first <= key[2] <= last:
                del failures[key]

    def fail(
        self,
        subscription: Subscription,
        topic: str,
        offset: int,
        deliveries: int,
        error: str | None,
        *,
        dead: bool,
    ) -> None:
        """Keep an error of an event, or its death.

        Args:
            subscription: whose.
            topic: of the event.
            offset: of the event.
            deliveries: how often it was handed out.
            error: why; None: that was not said.
            dead: whether it is dead now.
        """
        key = subscription.id, topic, offset
        former = self.changes.failures.get(key)
        first_error = error if former is None else former.first_error
        last_error = error if error is not None or former is None else former.last_error
        self.changes.failures[key] = Failure(deliveries, first_error, last_error, dead)

    def count_dead(
        self, subscription: Subscription, died: int, *, acknowledged: bool
    ) -> Subscription:
        """Count events that died in a row, and pause their subscription where there are too many.

        Args:
            subscription: as it is.
            died: number of events.
            acknowledged: whether others were acknowledged, which begins the count anew.

        Returns:
            The subscription as it is then.
        """
        before = 0 if acknowledged else subscription.dead_in_row
        in_row = before + died
        if not died and in_row == subscription.dead_in_row:
            return subscription
        reason, limit = subscription.reason, subscription.settings.stop_after_dead
        if reason is None and limit is not None and in_row >= limit:
            reason = f"{in_row} events in a row are dead, and stop_after_dead is {limit}"
        changed = replace(subscription, dead_in_row=in_row, reason=reason)
        self.keep(changed)
        return changed


@lru_cache(maxsize=1024)
def selection(topics: tuple[str, ...]) -> TopicSelection:
    """Return the selection of a subscription's topics, which takes a while to make."""
    return TopicSelection(topics)
