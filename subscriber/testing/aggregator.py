"""The double of an aggregator that tests of handlers use."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from storage.subscriptions import outcomes
from storage.subscriptions.commands import Command, Delete, DropDead, Pause, RetryDead
from subscriber.blocking import BlockingSubscriber
from subscriber.calls.requests import Calls
from subscriber.events import Event, parse_event
from subscriber.subscription import Subscriber
from subscriber.testing.calls import InMemoryCalls
from subscriber.testing.events import new_event
from subscriber.testing.faults import Fault
from subscriber.testing.log import Published
from subscriber.testing.parts import Parts
from subscriber.testing.rules import MAX_ENTRIES, check_range, refuse, topic_rule_broken
from subscriber.testing.times import microseconds, moment_of
from subscriber.testing.views import (
    DeadLetter,
    Revived,
    Sought,
    SubscriptionStatus,
    dead_letter,
    status_of,
)

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_URL = "http://in-memory"
_PAUSED = "paused by request"
_UNREACHABLE = "cannot connect to the aggregator: the test has it so"

_Kind = TypeVar("_Kind", bound=outcomes.Outcome)


class InMemoryAggregator:
    """An aggregator without a server, for tests of handlers.

    Its subscriptions are decided by the rules of the real one. Its clock stands still, but for
    `advance`, and for a consumer that waits while nobody has a lease: then it moves on to when an
    event comes again by itself. All methods may be called from any thread, and raise
    SubscriptionRefused for what an aggregator refuses, with the status of its response.

    Args:
        now: what its clock shows at first.
    """

    def __init__(self, *, now: datetime = _NOW) -> None:
        self._parts = Parts(microseconds(now))
        self._log = self._parts.log
        self._lock = self._parts.lock
        self._numbers = itertools.count(1)

    # Events and time

    def publish(
        self,
        topic: str,
        payload: Mapping[str, Any] | bytes,
        *,
        event_id: str | None = None,
        source: str = "test",
        timestamp: datetime | str | None = None,
    ) -> Published:
        """Store an event, unless one is stored under its id in its topic.

        Args:
            topic: the topic's name.
            payload: a mapping that `json.dumps` can write, or the JSON text of an object.
            event_id: the id; one of its own, if it is not given.
            source: the system that the event comes from.
            timestamp: the time of the event with a time zone, or an RFC 3339 date-time; what the
                clock shows, if it is not given.

        Returns:
            What has become of it, and the offset of what is stored under the id.

        Raises:
            ValueError: it breaks a rule of events; one sentence.
        """
        with self._lock:
            now_us = self._parts.database.now_us
            event = new_event(
                topic,
                payload,
                self._free_id(topic) if event_id is None else event_id,
                source,
                moment_of(now_us) if timestamp is None else timestamp,
            )
            published = self._log.publish(event, now_us)
            self._parts.wakeups.wake()
            return published

    def events(self, topic: str) -> list[Event]:
        """Return the events of a topic, by offset; none if there is no such topic."""
        with self._lock:
            return [parse_event(line) for line in self._log.lines(topic)]

    @property
    def now(self) -> datetime:
        """What the clock shows, in UTC."""
        with self._lock:
            return moment_of(self._parts.database.now_us)

    def advance(self, seconds: float) -> None:
        """Move the clock on: leases run out, and events come again.

        Args:
            seconds: by how much, from 0.

        Raises:
            ValueError: it is less than 0.
        """
        if seconds < 0:
            raise ValueError(f"a clock is moved on by 0 seconds or more, not {seconds!r}")
        with self._lock:
            self._parts.database.now_us += round(seconds * 1_000_000)
            self._parts.wakeups.wake()

    # Consumers

    def calls(self) -> Calls:
        """Return what a `Subscriber` of this aggregator sends its requests by."""
        return InMemoryCalls(self._parts)

    def subscriber(self, name: str, **options: Any) -> Subscriber:
        """Return a `Subscriber` of this aggregator.

        Args:
            name: of the subscription.
            options: as those of `Subscriber`.
        """
        return Subscriber(_URL, name, calls=self.calls(), **options)

    def blocking_subscriber(self, name: str, **options: Any) -> BlockingSubscriber:
        """Return a `BlockingSubscriber` of this aggregator.

        Args:
            name: of the subscription.
            options: as those of `BlockingSubscriber`.
        """
        return BlockingSubscriber(_URL, name, calls=self.calls(), **options)

    def lose_leases(self, name: str) -> None:
        """Have all leases of a subscription run out now, while the clock stands still.

        Who has one finds out as with a real aggregator: by the next settle, or when half of
        `lease_ms` has passed in real time and it is to be extended.
        """
        with self._lock:
            self._parts.database.end_leases(self._parts.subscriptions.there(name).id)
            self._parts.wakeups.wake()

    def fail_next(
        self, count: int = 1, reason: str = _UNREACHABLE, *, is_done: bool = False
    ) -> None:
        """Have the next requests of consumers fail, for a reason that may pass.

        Args:
            count: how many, behind those that are to fail already.
            reason: one sentence.
            is_done: whether they are done all the same, and only their answers are lost; a lease
                whose answer is lost is released.
        """
        with self._lock:
            self._parts.faults.add(count, Fault(reason, is_done))

    # Subscriptions

    def create(self, name: str, settings: Mapping[str, Any]) -> bool:
        """Make a subscription.

        Args:
            name: its name.
            settings: as `PUT /subscriptions/{name}` takes them, with the same defaults.

        Returns:
            Whether it was made; else one with equal settings was there.
        """
        with self._lock:
            return self._parts.subscriptions.create(name, settings)

    def subscriptions(self) -> list[str]:
        """Return the names of all subscriptions, sorted."""
        with self._lock:
            return self._parts.database.names()

    def subscription(self, name: str) -> SubscriptionStatus:
        """Return a subscription with its counts."""
        with self._lock:
            found = self._parts.subscriptions.there(name)
            database = self._parts.database
            return status_of(found, database.views(found), database.now_us)

    def pause(self, name: str) -> None:
        """Stop leases of a subscription; those that are open go on."""
        self._do(Pause(name, _PAUSED), outcomes.Kept)

    def resume(self, name: str) -> None:
        """Let leases of a subscription go on."""
        self._do(Pause(name, None), outcomes.Kept)

    def delete(self, name: str) -> None:
        """Delete a subscription; its leases are lost."""
        self._do(Delete(name), outcomes.Done)

    def seek(self, name: str, begins: object, *, dry_run: bool = False) -> Sought:
        """Move a subscription; the leases of the topics that are moved are lost.

        Args:
            name: its name.
            begins: where to: `"start"`, `"now"`, `{"since": TIME}`, `{"offsets": {TOPIC: OFFSET}}`.
            dry_run: only say what that would do.
        """
        with self._lock:
            sought = self._parts.subscriptions.seek(name, begins, dry_run=dry_run)
            self._parts.wakeups.wake()
            return Sought(sought.again, sought.skipped)

    # Dead letters

    def dead_letters(self, name: str) -> list[DeadLetter]:
        """Return the dead letters of a subscription, by topic and offset."""
        with self._lock:
            found = self._parts.subscriptions.there(name)
            return [
                dead_letter(each, self._log.line(each.topic, each.offset))
                for each in self._parts.database.dead_letters(found.id)
            ]

    def retry_dead(
        self, name: str, offsets: Sequence[tuple[str, int, int]] | None = None
    ) -> Revived:
        """Have dead letters wait again, with no deliveries counted.

        Args:
            name: of the subscription.
            offsets: topic, first and last offset of some ranges; None: all dead letters.
        """
        for topic, first, last in offsets or ():
            if broken := topic_rule_broken(topic):
                refuse(f"offsets has a topic that {broken}")
            check_range("offsets", first, last)
        if offsets is not None and not 1 <= len(offsets) <= MAX_ENTRIES:
            refuse(f"offsets must hold 1 to {MAX_ENTRIES} ranges")
        retried = self._do(RetryDead(name, offsets), outcomes.Retried)
        return Revived(retried.retried, retried.left)

    def drop_dead(self, name: str, topic: str, offset: int) -> None:
        """Make a dead letter acknowledged."""
        self._do(DropDead(name, topic, offset), outcomes.Done)

    def _do(self, command: Command, kind: type[_Kind]) -> _Kind:
        with self._lock:
            outcome = self._parts.subscriptions.do(command, kind)
            self._parts.wakeups.wake()
            return outcome

    def _free_id(self, topic: str) -> str:
        ids = (f"event-{number}" for number in self._numbers)
        return next(each for each in ids if not self._log.has(topic, each))
