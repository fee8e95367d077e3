"""A database of subscriptions that is nothing but dicts, and a clock that a test moves.

It does with `storage.subscriptions.decisions` what a backend does: it loads what `needs` names and
no more, has each command decided, and writes what has changed.
"""

from collections.abc import Callable, Sequence

import msgspec

from storage.subscriptions.commands import Command, Range
from storage.subscriptions.decisions import Decisions
from storage.subscriptions.model import (
    FailedEvent,
    SettleRecord,
    Subscription,
    TopicState,
    TopicView,
)
from storage.subscriptions.outcomes import Outcome
from storage.subscriptions.workspace import Changes, Failure, Loaded, Needs, needs
from storage.topic_patterns import TopicSelection
from support.subscription_model import Log
from support.subscription_requests import Looked

Decide = Callable[[Loaded], Decisions]
FIRST_US = 1_700_000_000_000_000
"""When the clock begins."""


class CoreDatabase:
    """What a database keeps of subscriptions.

    Args:
        log: the events; others write it.
        decide: makes what decides the commands of a transaction.
    """

    def __init__(self, log: Log, decide: Decide = Decisions) -> None:
        self.now_us = FIRST_US
        self._log = log
        self._decide = decide
        self._subscriptions: dict[str, Subscription] = {}
        self._states: dict[tuple[str, str], TopicState] = {}
        self._failures: dict[tuple[str, str, int], FailedEvent] = {}
        self._settles: dict[tuple[str, str, bytes], SettleRecord] = {}

    def apply(self, commands: Sequence[Command]) -> tuple[list[Outcome] | None, tuple[int, int]]:
        """See `SubscriptionDatabase`."""
        decisions = self._decide(self._load(commands))
        outcomes = [decisions.decide(command) for command in commands]
        self._write(decisions.changes)
        return outcomes, (self.now_us, self.now_us)

    def look(self, name: str) -> Looked | None:
        """See `SubscriptionDatabase`."""
        found = self._subscriptions.get(name)
        if found is None:
            return None
        selection = TopicSelection(found.settings.topics)
        topics = sorted(filter(selection.matches, self._log.topics))
        return found, [self._view(found, topic) for topic in topics], self.now_us

    def dead_letters(self, subscription_id: str) -> list[FailedEvent]:
        """See `SubscriptionDatabase`."""
        return [self._failures[key] for key in self._dead_keys(subscription_id, None)]

    def publish(self, topic: str, sources: Sequence[str]) -> None:
        """See `SubscriptionDatabase`."""
        self._log.topics.setdefault(topic, []).extend((each, self.now_us) for each in sources)
        self.now_us += 1

    def let_pass(self, how: str, times_us: Sequence[int]) -> None:
        """See `SubscriptionDatabase`."""
        to_come = [time_us for time_us in times_us if time_us > self.now_us] or [self.now_us]
        self.now_us = {
            "edge": to_come[0],
            "before": max(self.now_us, to_come[0] - 1),
            "last": to_come[-1],
            "second": self.now_us + 10**6,
            "day": self.now_us + 86_400 * 10**6,
        }[how]

    def _view(self, subscription: Subscription, topic: str) -> TopicView:
        state = self._states.get((subscription.id, topic), TopicState())
        oldest_us = self._log.stored_us(topic, state.place + 1)
        return TopicView(topic, self._log.head(topic), state, oldest_us)

    def _dead_keys(
        self, subscription_id: str, ranges: Sequence[Range] | None
    ) -> list[tuple[str, str, int]]:
        return sorted(
            key
            for key, row in self._failures.items()
            if key[0] == subscription_id
            and row.dead_us is not None
            and (
                ranges is None
                or any(row.topic == t and first <= row.offset <= last for t, first, last in ranges)
            )
        )

    def _load(self, commands: Sequence[Command]) -> Loaded:
        wanted = needs(commands)
        loaded = Loaded(now_us=self.now_us)
        for name in wanted.names:
            if (found := self._subscriptions.get(name)) is None:
                continue
            loaded.subscriptions[name] = found
            topics = wanted.topics[name]
            for (id_, topic), state in self._states.items():
                if id_ == found.id and (topic in topics or name in wanted.every_state):
                    loaded.states[id_, topic] = state
            for topic in topics:
                if head := self._log.head(topic):
                    loaded.heads[topic] = head
                    oldest_us = self._view(found, topic).oldest_us
                    if oldest_us is not None:
                        loaded.oldest_us[found.id, topic] = oldest_us
            if name in wanted.others:
                others = [
                    state
                    for (id_, topic), state in self._states.items()
                    if id_ == found.id and topic not in topics
                ]
                leased = sum(state.leased(self.now_us) for state in others)
                loaded.others[found.id] = leased, sum(state.unsettled for state in others)
            self._load_rows(loaded, wanted, found)
        return loaded

    def _load_rows(self, loaded: Loaded, wanted: Needs, found: Subscription) -> None:
        if wanted.dead is not None:
            ranges, limit = wanted.dead
            keys = self._dead_keys(found.id, ranges)
            loaded.dead = [(topic, offset) for _, topic, offset in keys[:limit]]
            loaded.dead_total = len(keys)
        for name, lease, digest in wanted.records:
            if name != found.name:
                continue
            of_lease = [
                d for (i, of, _), d in self._settles.items() if (i, of) == (found.id, lease)
            ]
            loaded.records |= {(lease, d.digest): d for d in of_lease if d.digest == digest}
            if any(done.ended for done in of_lease):
                loaded.ended.add(lease)

    def _write(self, changes: Changes) -> None:
        self._subscriptions |= changes.subscriptions
        for id_ in changes.deleted:
            self._delete(id_)
        kept = {each.id for each in self._subscriptions.values()}
        for key, state in changes.states.items():
            assert key[0] in kept, f"{key} of no subscription"
            self._states.pop(key, None)
            if state is not None:
                law = state.acknowledged + state.dead + state.unsettled
                assert state.next_offset - state.start == law, f"the law: {key}: {state}"
                self._states[key] = state
        for id_, topic, first, last in changes.forgotten:
            for place in [k for k in self._failures if k[:2] == (id_, topic)]:
                if first <= place[2] <= last:
                    del self._failures[place]
        for place, failure in changes.failures.items():
            self._failures[place] = self._failed(place, failure)
        for id_, done in changes.records:
            self._settles[id_, done.lease, done.digest] = done

    def _delete(self, id_: str) -> None:
        self._subscriptions = {n: s for n, s in self._subscriptions.items() if s.id != id_}
        self._states = {key: state for key, state in self._states.items() if key[0] != id_}
        self._failures = {key: row for key, row in self._failures.items() if key[0] != id_}
        self._settles = {key: row for key, row in self._settles.items() if key[0] != id_}

    def _failed(self, place: tuple[str, str, int], failure: Failure) -> FailedEvent:
        row = self._failures.get(place)
        if row is None:
            row = FailedEvent(
                topic=place[1],
                offset=place[2],
                deliveries=0,
                first_error=None,
                last_error=None,
                first_failed_us=self.now_us,
                dead_us=None,
            )
        first, last = failure.first_error, failure.last_error
        return msgspec.structs.replace(
            row,
            deliveries=failure.deliveries,
            first_error=first if row.first_error is None else row.first_error,
            last_error=row.last_error if last is None else last,
            dead_us=self.now_us if failure.dead else None,
        )
