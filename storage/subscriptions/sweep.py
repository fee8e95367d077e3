"""Sweeps over a topic: all that a settle names of it is done in one pass over its ranges."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from storage.subscriptions.commands import Death, Retry
from storage.subscriptions.deliveries import backoff_us, is_dead
from storage.subscriptions.model import SubscriptionSettings, TopicState, Unsettled
from storage.subscriptions.ranges import merged, part


class SettleRefused(Exception):
    """A settle that can't be done; its message is one sentence for the consumer.

    Args:
        reason: as in `storage.subscriptions.outcomes.Refusal`.
        message: the sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(slots=True)
class Failed:
    """An event that failed, as a settle has it.

    Attributes:
        offset: the event.
        deliveries: how often it was handed out.
        error: why, if that was said.
        dead: whether it is dead.
    """

    offset: int
    deliveries: int
    error: str | None
    dead: bool


@dataclass(slots=True)
class TopicSettled:
    """What a settle does to one topic.

    Attributes:
        state: as it is then.
        forgotten: ranges of offsets of which no failure is to be kept any more.
        failed: events that failed.
        acknowledged, retried, dead, released: numbers of events.
        not_redelivered: of those released, events that were handed out before.
    """

    state: TopicState
    forgotten: list[tuple[int, int]] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    acknowledged: int = 0
    retried: int = 0
    dead: int = 0
    released: int = 0
    not_redelivered: int = 0


class Action(NamedTuple):
    """What is named of a range of offsets."""

    first: int
    last: int
    of: Retry | Death | str


ACK, RELEASE = "ack", "release"


class Sweep:
    """Settles one topic; its ranges, and what is named of it, may be thousands.

    Args:
        topic: its name.
        state: as it is before.
        lease: the id of the lease.
        settings: of the subscription.
        now_us: the time.
    """

    def __init__(
        self,
        topic: str,
        state: TopicState,
        lease: str,
        settings: SubscriptionSettings,
        now_us: int,
    ) -> None:
        self._topic = topic
        self._lease = lease
        self._settings = settings
        self._now_us = now_us
        self._done = TopicSettled(state)
        self._ranges: list[Unsettled] = []

    def over(self, actions: Sequence[Action]) -> None:
        """Do what is named, in the order of offsets."""
        index = 0
        for each in self._done.state.ranges:
            rest: Unsettled | None = each
            while rest is not None and index < len(actions):
                action = actions[index]
                if action.last < rest.first:
                    self._pass(action)
                    index += 1
                    continue
                if action.first > rest.last:
                    break
                if action.first > rest.first:
                    self._ranges.append(part(rest, rest.first, action.first - 1))
                last = min(rest.last, action.last)
                self._do(action, part(rest, max(rest.first, action.first), last))
                rest = part(rest, last + 1, rest.last) if last < rest.last else None
                if action.last == last:
                    # What one event was named for is done; a range may go on.
                    index += 1
            if rest is not None:
                self._ranges.append(rest)
        for action in actions[index:]:
            self._pass(action)

    def release_behind(self, offset: int) -> None:
        """Hand back what the lease still has behind an offset."""
        self._ranges = [
            self._released(each) if each.lease == self._lease and each.first > offset else each
            for each in self._ranges
        ]

    def settled(self) -> TopicSettled:
        """Return what was done."""
        done = self._done
        before = done.state
        done.state = TopicState(
            before.start,
            before.next_offset,
            before.acknowledged + done.acknowledged,
            before.dead + done.dead,
            before.redelivered - done.not_redelivered,
            merged(self._ranges),
        )
        return done

    def _pass(self, action: Action) -> None:
        """Pass what is named where nothing is unsettled, or nothing more is."""
        if isinstance(action.of, (Retry, Death)):
            raise SettleRefused(
                "lease_lost",
                f"offset {action.first} of the topic {self._topic!r} is settled already",
            )
        if action.last > self._done.state.next_offset:
            # The place was moved back, or the topic is not one of the subscription's any more.
            raise SettleRefused(
                "lease_lost",
                f"offset {action.last} of the topic {self._topic!r} is not held by the lease any "
                "more",
            )

    def _do(self, action: Action, held: Unsettled) -> None:
        done = self._done
        check_held(self._topic, held, self._lease)
        if isinstance(action.of, Retry):
            self._retry(action.of, held)
        elif isinstance(action.of, Death):
            done.dead += 1
            done.failed.append(Failed(held.first, held.deliveries, action.of.error, dead=True))
        elif action.of is RELEASE:
            self._ranges.append(self._released(held))
        else:
            done.acknowledged += held.count
            # Not all that is named: it may span dead letters.
            if held.failed:
                done.forgotten.append((held.first, held.last))

    def _retry(self, retry: Retry, held: Unsettled) -> None:
        done, settings = self._done, self._settings
        dead = is_dead(held, settings)
        if dead or retry.error is not None:
            done.failed.append(Failed(retry.offset, held.deliveries, retry.error, dead=dead))
        if dead:
            done.dead += 1
            return
        done.retried += 1
        wait_us = (
            backoff_us(settings, held.deliveries)
            if retry.after_ms is None
            else retry.after_ms * 1000
        )
        failed = held.failed or retry.error is not None
        due_us = self._now_us + wait_us
        self._ranges.append(
            Unsettled(held.first, held.last, held.deliveries, due_us, "", 0, failed)
        )

    def _released(self, held: Unsettled) -> Unsettled:
        """Hand a range back as if this delivery had not been."""
        self._done.released += held.count
        if held.deliveries > 1:
            self._done.not_redelivered += held.count
        return Unsettled(
            held.first, held.last, held.deliveries - 1, self._now_us, "", 0, held.failed
        )


def check_held(topic: str, held: Unsettled, lease: str) -> None:
    """Check that a lease holds a range.

    Raises:
        SettleRefused: it does not.
    """
    if held.lease != lease:
        raise SettleRefused(
            "lease_lost",
            f"offset {held.first} of the topic {topic!r} is not held by the lease: it was handed "
            "back",
        )
