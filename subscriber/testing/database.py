"""The database of a double: what is kept of subscriptions, in dicts, and a clock.

It does with `storage.subscriptions.decisions` what a backend does: it loads what `needs` names, has
each command decided, and writes what has changed. So a double decides as an aggregator does.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from storage.subscriptions.commands import Command, Range
from storage.subscriptions.decisions import Decisions
from storage.subscriptions.holding import with_ranges
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
from subscriber.testing.log import EventLog

_DAY_US = 86_400_000_000
"""How long a settle that was done is remembered."""


class _Kept:
    """What is kept of one subscription."""

    def __init__(self) -> None:
        self.states: dict[str, TopicState] = {}
        self.failures: dict[tuple[str, int], FailedEvent] = {}
        self.settles: dict[tuple[str, bytes], SettleRecord] = {}
        """By lease and digest, in the order in which they were done."""


class SubscriptionDatabase:
    """What is kept of the subscriptions to a log, and a clock that stands still.

    Args:
        log: the events.
        now_us: the time at first, in microseconds since 1970.
    """

    def __init__(self, log: EventLog, now_us: int) -> None:
        self.now_us = now_us
        self._log = log
        self._subscriptions: dict[str, Subscription] = {}
        self._kept: dict[str, _Kept] = {}
        """By id of the subscription."""

    def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Do commands, in order, in one transaction; see `storage.subscriptions.commands`."""
        decisions = Decisions(self._load(commands))
        outcomes = [decisions.decide(command) for command in commands]
        self._write(decisions.changes)
        return outcomes

    def subscription(self, name: str) -> Subscription | None:
        """Return a subscription; None: there is none of this name."""
        return self._subscriptions.get(name)

    def names(self) -> list[str]:
        """Return the names of all subscriptions, sorted."""
        return sorted(self._subscriptions)

    def views(self, subscription: Subscription) -> list[TopicView]:
        """Return the topics of a subscription that exist, by name."""
        heads = self._log.heads(TopicSelection(subscription.settings.topics))
        states = self._kept[subscription.id].states
        return [
            TopicView(topic, head, state, self._log.stored_us(topic, state.place + 1))
            for topic, head in heads.items()
            for state in [states.get(topic, TopicState())]
        ]

    def dead_letters(self, subscription_id: str) -> list[FailedEvent]:
        """Return the dead letters of a subscription, by topic and offset."""
        kept = self._kept[subscription_id]
        return [kept.failures[key] for key in _dead(kept, None)]

    def holds_leases(self) -> bool:
        """Return whether any subscription has a lease that has not run out."""
        return any(
            state.leased(self.now_us)
            for kept in self._kept.values()
            for state in kept.states.values()
        )

    def end_leases(self, subscription_id: str) -> None:
        """Have all leases of a subscription run out now."""
        states = self._kept[subscription_id].states
        for topic, state in states.items():
            ranges = [
                replace(each, until_us=min(each.until_us, self.now_us)) if each.lease else each
                for each in state.ranges
            ]
            states[topic] = with_ranges(state, ranges)

    def _load(self, commands: Sequence[Command]) -> Loaded:
        wanted = needs(commands)
        loaded = Loaded(now_us=self.now_us)
        for name, topics in wanted.topics.items():
            loaded.heads |= {topic: head for topic in topics if (head := self._log.head(topic))}
            if (found := self._subscriptions.get(name)) is not None:
                loaded.subscriptions[name] = found
                self._load_topics(loaded, wanted, found)
                self._load_rows(loaded, wanted, found)
        return loaded

    def _load_topics(self, loaded: Loaded, wanted: Needs, found: Subscription) -> None:
        states, named = self._kept[found.id].states, wanted.topics[found.name]
        for topic in states if found.name in wanted.every_state else named:
            if (state := states.get(topic)) is not None:
                loaded.states[found.id, topic] = state
            place = TopicState().place if state is None else state.place
            if (oldest_us := self._log.stored_us(topic, place + 1)) is not None:
                loaded.oldest_us[found.id, topic] = oldest_us
        if found.name in wanted.others:
            others = [state for topic, state in states.items() if topic not in named]
            leased = sum(state.leased(self.now_us) for state in others)
            loaded.others[found.id] = leased, sum(state.unsettled for state in others)

    def _load_rows(self, loaded: Loaded, wanted: Needs, found: Subscription) -> None:
        kept = self._kept[found.id]
        if wanted.dead is not None:
            ranges, limit = wanted.dead
            dead = list(_dead(kept, ranges))
            loaded.dead, loaded.dead_total = dead[:limit], len(dead)
        for name, lease, digest in wanted.records:
            if name != found.name:
                continue
            if (record := kept.settles.get((lease, digest))) is not None:
                loaded.records[lease, digest] = record
            if any(each.ended and each.lease == lease for each in kept.settles.values()):
                loaded.ended.add(lease)

    def _write(self, changes: Changes) -> None:
        for id_ in changes.deleted:
            del self._kept[id_]
        self._subscriptions |= changes.subscriptions
        for each in changes.subscriptions.values():
            self._kept.setdefault(each.id, _Kept())
        self._subscriptions = {
            name: each for name, each in self._subscriptions.items() if each.id in self._kept
        }
        for (id_, topic), state in changes.states.items():
            self._kept[id_].states.pop(topic, None)
            if state is not None:
                self._kept[id_].states[topic] = state
        for id_, topic, first, last in changes.forgotten:
            failures = self._kept[id_].failures
            if first == last:
                failures.pop((topic, first), None)
                continue
            for key in [key for key in failures if key[0] == topic and first <= key[1] <= last]:
                del failures[key]
        for (id_, topic, offset), failure in changes.failures.items():
            failures = self._kept[id_].failures
            failures[topic, offset] = self._failed(failures, topic, offset, failure)
        for id_, record in changes.records:
            kept = self._kept[id_]
            kept.settles[record.lease, record.digest] = record
            _forget_settles(kept, self.now_us)

    def _failed(
        self,
        failures: Mapping[tuple[str, int], FailedEvent],
        topic: str,
        offset: int,
        failure: Failure,
    ) -> FailedEvent:
        former = failures.get((topic, offset))
        first, last = failure.first_error, failure.last_error
        if former is not None:
            first = first if former.first_error is None else former.first_error
            last = former.last_error if last is None else last
        return FailedEvent(
            topic=topic,
            offset=offset,
            deliveries=failure.deliveries,
            first_error=first,
            last_error=last,
            first_failed_us=self.now_us if former is None else former.first_failed_us,
            dead_us=self.now_us if failure.dead else None,
        )


def _dead(kept: _Kept, ranges: Sequence[Range] | None) -> Iterator[tuple[str, int]]:
    """Yield topics and offsets of the dead letters of some ranges, or of all."""
    for key, failed in sorted(kept.failures.items()):
        if failed.dead_us is not None and (
            ranges is None
            or any(key[0] == topic and first <= key[1] <= last for topic, first, last in ranges)
        ):
            yield key


def _forget_settles(kept: _Kept, now_us: int) -> None:
    """Forget settles that are a day old, and of each label those of all ended leases but one."""
    ended = {each.lease: each.consumer for each in kept.settles.values() if each.ended}
    last_ended = {consumer: lease for lease, consumer in ended.items()}
    kept.settles = {
        key: each
        for key, each in kept.settles.items()
        if each.at_us > now_us - _DAY_US
        and (each.lease not in ended or last_ended[ended[each.lease]] == each.lease)
    }
