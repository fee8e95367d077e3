"""Leases of a double: what is handed out is decided, and read from the log."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import uuid4

from msgspec.structs import replace

from storage.subscriptions import commands, outcomes
from storage.subscriptions.commands import Range, Token, Window
from storage.subscriptions.model import Subscription
from storage.subscriptions.outcomes import Granted
from storage.topic_patterns import TopicSelection
from subscriber.calls.requests import Delivered, Leased, Settle, Settled
from subscriber.testing.database import SubscriptionDatabase
from subscriber.testing.log import EventLog
from subscriber.testing.rules import refuse
from subscriber.testing.settles import settle_command
from subscriber.testing.subscriptions import Subscriptions

LEASE_BYTES = 8 * 2**20
"""A lease ends after the event that takes its events to this many bytes."""

_WINDOW_ROWS = 20_000
_MAX_WINDOWS = 10
"""A lease passes over at most so many windows of so many events that a filter leaves out."""

_US_PER_MS = 1000
_US_PER_S = 1_000_000


class Taken(NamedTuple):
    """An attempt to lease.

    Args:
        answer: what the consumer is told.
        due_us: when more may be there, although nothing is stored or settled; None: never.
        goes_on: whether a filter has left out so much that what is behind it was not looked at.
    """

    answer: Leased
    due_us: int | None
    goes_on: bool


class Leases:
    """Leases and settles.

    Args:
        log: the events.
        database: what is kept of subscriptions.
        subscriptions: does commands.
    """

    def __init__(
        self, log: EventLog, database: SubscriptionDatabase, subscriptions: Subscriptions
    ) -> None:
        self._log = log
        self._database = database
        self._subscriptions = subscriptions
        self._tokens: dict[str, Token] = {}
        """Those that were given, by their text."""
        self._given_last: dict[str, str] = {}
        """By id of a subscription, the topic that gave the last event of its last lease."""

    def take(self, name: str, consumer: str, max_events: int, settle: Settle | None) -> Taken:
        """Lease what is there now.

        Args:
            name: of the subscription.
            consumer: the label.
            max_events: events at most.
            settle: what is settled ahead of it.

        Raises:
            LeaseLost, SubscriptionRefused: nothing was done.
        """
        first = None if settle is None else self._command(name, settle)
        subscription = self._subscriptions.there(name)
        outcome, lease = self._decide(subscription, max_events, first)
        text, deliveries = None, list[Delivered]()
        if outcome.granted:
            extents = _extents((each.topic, each.first, each.last) for each in outcome.granted)
            token = Token(subscription.id, lease, consumer, extents)
            text, deliveries = self._give(name, token, outcome.granted)
            self._given_last[subscription.id] = deliveries[-1].topic
        expires_us = outcome.expires_us if outcome.granted else outcome.now_us
        answer = Leased(
            lease=text,
            expires_in_s=_seconds(expires_us - outcome.now_us),
            deliveries=deliveries,
            lag_events=outcome.lag_events,
            lag_seconds=_lag_seconds(outcome),
            settled=None if outcome.settled is None else _settled(outcome.settled),
        )
        return Taken(answer, outcome.due_us, bool(outcome.scan) and not outcome.granted)

    def settle(self, name: str, settle: Settle) -> Settled:
        """Settle events of a lease.

        Raises:
            LeaseLost, SubscriptionRefused: nothing was done.
        """
        return _settled(self._subscriptions.do(self._command(name, settle), outcomes.Settled))

    def give_back(self, name: str, text: str) -> None:
        """Release what a lease still has, for its consumer did not get it."""
        command = commands.Settle(name=name, token=self._tokens[text], release_rest=True)
        self._subscriptions.do(command, outcomes.Settled)

    def _command(self, name: str, settle: Settle) -> commands.Settle:
        token = self._tokens.get(settle.lease)
        if token is None:
            refuse("lease is not one that a lease gave; take the text of `lease` as it is")
        return settle_command(name, settle, token)

    def _decide(
        self, subscription: Subscription, max_events: int, settle: commands.Settle | None
    ) -> tuple[outcomes.Leased, str]:
        """Have a lease decided, window by window where a filter leaves out much."""
        settled = None
        for _ in range(_MAX_WINDOWS):
            lease = uuid4().hex
            command = commands.Lease(
                name=subscription.name,
                lease=lease,
                max_events=max_events,
                topics=self._topics(subscription),
                windows=self._windows(subscription),
                settle=settle,
            )
            outcome = self._subscriptions.do(command, outcomes.Leased)
            # It is done once, however many windows are looked through.
            settle, settled = None, settled or outcome.settled
            if outcome.granted or not outcome.scan:
                break
        return replace(outcome, settled=settled), lease

    def _topics(self, subscription: Subscription) -> list[str]:
        """Return the topics of a subscription in turns: those behind the last one first."""
        topics = list(self._log.heads(TopicSelection(subscription.settings.topics)))
        last = self._given_last.get(subscription.id, "")
        return [t for t in topics if t > last] + [t for t in topics if t <= last]

    def _windows(self, subscription: Subscription) -> dict[str, Window]:
        source = subscription.settings.source
        if source is None:
            return {}
        windows = {}
        for view in self._database.views(subscription):
            first = view.state.next_offset + 1
            last = min(view.head, view.state.next_offset + _WINDOW_ROWS)
            if first <= last:
                matches = self._log.offsets_of_source(view.topic, source, first, last)
                windows[view.topic] = Window(source, first, last, matches)
        return windows

    def _give(
        self, name: str, token: Token, granted: Sequence[Granted]
    ) -> tuple[str, list[Delivered]]:
        """Read what was granted, and trim the lease to what it may have."""
        deliveries: list[Delivered] = []
        rest: list[tuple[str, int, int]] = []
        size = 0
        for each in granted:
            offset = each.first
            while offset <= each.last and size < LEASE_BYTES:
                line = self._log.line(each.topic, offset)
                deliveries.append(Delivered(each.topic, offset, each.deliveries, line))
                size += len(line) + len("\n")
                offset += 1
            if offset <= each.last:
                rest.append((each.topic, offset, each.last))
        if rest:
            command = commands.Settle(name=name, token=token, release=rest, trims=True)
            self._subscriptions.do(command, outcomes.Settled)
            extents = _extents((each.topic, each.offset, each.offset) for each in deliveries)
            token = replace(token, extents=extents)
        text = uuid4().hex
        self._tokens[text] = token
        return text, deliveries


def _extents(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Return the first and the last offset of each topic."""
    extents: dict[str, tuple[int, int]] = {}
    for topic, first, last in ranges:
        known_first, known_last = extents.get(topic, (first, last))
        extents[topic] = min(first, known_first), max(last, known_last)
    return tuple((topic, first, last) for topic, (first, last) in extents.items())


def _settled(outcome: outcomes.Settled) -> Settled:
    expires_us = outcome.expires_us
    return Settled(
        outcome.acknowledged,
        outcome.retried,
        outcome.dead,
        outcome.released,
        None if expires_us is None else _seconds(expires_us - outcome.now_us),
    )


def _lag_seconds(outcome: outcomes.Leased) -> float:
    if not outcome.lag_events or outcome.oldest_us is None:
        return 0.0
    return (outcome.now_us - outcome.oldest_us) / _US_PER_S


def _seconds(microseconds: int) -> float:
    # An aggregator tells whole milliseconds.
    return microseconds // _US_PER_MS / 1000
