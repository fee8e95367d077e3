"""Hypothesis: a machine of everything that is done with subscriptions, beside a model of them."""

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from storage.subscriptions.commands import (
    Change,
    Command,
    Create,
    Delete,
    DropDead,
    Lease,
    Pause,
    RetryDead,
    Seek,
    Settle,
    Token,
)
from storage.subscriptions.model import Beginning, Subscription, SubscriptionSettings
from storage.subscriptions.outcomes import Leased, Outcome
from support.subscription_judge import SubscriptionModel, names_of
from support.subscription_model import Fate, SubscriptionRecord
from support.subscription_requests import AggregatorView, SubscriptionDatabase
from support.subscription_strategies import (
    NAMES,
    SOURCES,
    TOPICS,
    Wishes,
    changes,
    many_settings,
    settle_of,
    wishes,
)
from support.subscription_views import compare, compare_dead

names = st.sampled_from(NAMES)
topics = st.sampled_from(TOPICS)
aggregators = st.integers(0, 1)
consumers = st.sampled_from(["w", "v"])
sizes = st.sampled_from([1, 2, 3, 10, 12, 100])
recent = st.sampled_from([1, 1, 1, 1, 2, 2, 3, 4, 6])
numbers = st.integers(0, 30)


class SubscriptionMachine(RuleBasedStateMachine):
    """Subscriptions in a database, and the model of them."""

    def __init__(self, database: SubscriptionDatabase, model: SubscriptionModel) -> None:
        super().__init__()
        self.database = database
        self.model = model
        self.views = [AggregatorView(model), AggregatorView(model)]
        self.ids = itertools.count(1)
        self.tokens: list[tuple[str, Token]] = []
        self.settles: list[Settle] = []

    # What all rules do

    def do(self, commands: Sequence[Command], consumer: str = "") -> list[Outcome] | None:
        """Have commands done in one transaction, and judge the outcomes; None: unknown."""
        outcomes, times = self.database.apply(commands)
        if outcomes is None:
            self.learn(commands, consumer, times)
        else:
            for command, outcome in zip(commands, outcomes, strict=True):
                self.model.judge(command, outcome, times, consumer)
                self.note(command, outcome, consumer)
        for name in sorted(names_of(commands)):
            self.look_at(name)
        return outcomes

    def learn(self, commands: Sequence[Command], consumer: str, times: tuple[int, int]) -> None:
        """Find out by a look whether commands without an answer were done."""
        raise NotImplementedError

    def note(self, command: Command, outcome: Outcome, consumer: str) -> None:
        """Keep what a consumer is told: the token, and the settle that may be sent again."""
        if isinstance(command, Settle):
            self.settles.append(command)
        if isinstance(command, Lease) and isinstance(outcome, Leased) and outcome.granted:
            record = self.model.records[command.name]
            extents = record.leases[command.lease].extents
            token = Token(
                record.id, command.lease, consumer, tuple((t, *o) for t, o in extents.items())
            )
            self.tokens.append((command.name, token))

    def look_at(self, name: str) -> None:
        """Hold what is kept of a subscription against the model."""
        record, looked = self.model.records.get(name), self.database.look(name)
        if record is None or looked is None:
            assert record is looked is None, f"there is {looked}, but {record}"
            return
        stored, views, now_us = looked
        compare(record, stored, views, now_us)
        compare_dead(record, self.database.dead_letters(record.id))

    @invariant()
    def the_law_holds_and_all_is_as_the_model_says(self) -> None:
        for name in NAMES:
            self.look_at(name)

    # Events and time

    @rule(topic=topics, sources=st.lists(st.sampled_from(SOURCES), min_size=1, max_size=12))
    def publish(self, topic: str, sources: list[str]) -> None:
        self.database.publish(topic, sources)

    @rule(how=st.sampled_from(["edge", "edge", "edge", "before", "last", "second", "day"]))
    def let_time_pass(self, how: str) -> None:
        self.database.let_pass(how, self.times_to_come())

    def times_to_come(self) -> list[int]:
        """When leases run out, and events are due."""
        return sorted(
            {
                time_us
                for record in self.model.records.values()
                for topic in record.topics.values()
                for event in topic.unsettled()
                for time_us in [
                    record.due_us(event),
                    event.lease.until_us if event.lease is not None else 0,
                ]
            }
        )

    # Making, changing

    @rule(name=names, drawn=many_settings, how=st.sampled_from(["start", "now", "offsets"]))
    def create(self, name: str, drawn: SubscriptionSettings, how: str) -> None:
        log = self.model.log
        at = {"start": 0, "now": 1, "offsets": 0.5}[how]
        starts = {topic: int(log.head(topic) * at) for topic in log.topics}
        begins = Beginning(offsets=starts) if how == "offsets" else Beginning(at=how)
        settings = msgspec.structs.replace(drawn, begins=begins)
        self.create_with(name, settings, starts)

    def create_with(
        self, name: str, settings: SubscriptionSettings, starts: dict[str, int]
    ) -> None:
        made = SubscriptionRecord(self.model.log, name, "", settings)
        starts = {topic: start for topic, start in starts.items() if made.selects(topic) and start}
        id_ = f"id-{next(self.ids)}"
        self.do([Create(Subscription(name=name, id=id_, settings=settings), starts)])

    @precondition(lambda self: self.model.records)
    @rule(number=numbers, equal=st.booleans())
    def create_again(self, number: int, *, equal: bool) -> None:
        record = self.some(number)
        settings = record.settings
        if not equal:
            settings = msgspec.structs.replace(settings, lease_ms=settings.lease_ms + 1)
        self.create_with(record.name, settings, {})

    @rule(name=names, changed=changes)
    def change(self, name: str, changed: dict[str, Any]) -> None:
        heads = {}
        if "topics" in changed:
            settings = SubscriptionSettings(topics=changed["topics"])
            made = SubscriptionRecord(self.model.log, name, "", settings)
            heads = {topic: self.model.log.head(topic) for topic in made.selected()}
        self.do([Change(name=name, heads=heads, **changed)])

    @rule(name=names, key=st.sampled_from([None, None, "for a while"]))
    def pause(self, name: str, key: str | None) -> None:
        self.do([Pause(name, key)])

    @rule(name=names, number=st.integers(0, 2))
    def delete(self, name: str, number: int) -> None:
        if number == 0:
            self.do([Delete(name)])

    # Leasing, settling

    @rule(
        name=names,
        at=aggregators,
        most=sizes,
        consumer=consumers,
        width=st.integers(1, 20),
        few=st.sampled_from([False, False, True]),
    )
    def lease(
        self, name: str, at: int, most: int, consumer: str, width: int, *, few: bool
    ) -> None:
        view = self.views[at]
        for _ in range(200):
            command = view.lease(name, f"lease-{next(self.ids)}", most, width, few=few)
            outcomes = self.do([command], consumer)
            if outcomes is None or not isinstance(leased := outcomes[0], Leased):
                return
            view.learn(leased)
            if leased.granted or not leased.scan:
                return
        raise AssertionError(f"the filter has no end: {leased}")

    @rule(at=aggregators, name=names)
    def refresh(self, at: int, name: str) -> None:
        self.views[at].refresh(name)

    @precondition(lambda self: self.tokens)
    @rule(back=recent, wish=wishes)
    def settle(self, back: int, wish: Wishes) -> None:
        self.do([self.settle_by(back, wish)])

    def settle_by(self, back: int, wish: Wishes) -> Settle:
        name, token = self.tokens[-back] if back <= len(self.tokens) else self.tokens[0]
        return settle_of(name, self.model.records.get(name), token, wish)

    @precondition(lambda self: self.settles)
    @rule(back=recent, extend_ms=st.sampled_from([None, 2000]))
    def settle_again(self, back: int, extend_ms: int | None) -> None:
        command = self.settles[-back] if back <= len(self.settles) else self.settles[0]
        self.do([msgspec.structs.replace(command, extend_ms=extend_ms)])

    @precondition(lambda self: self.tokens)
    @rule(
        parts=st.lists(st.tuples(st.booleans(), recent, wishes, names, sizes), min_size=2, max_size=4),
        consumer=consumers,
    )
    def together(
        self, parts: list[tuple[bool, int, Wishes, str, int]], consumer: str
    ) -> None:
        """Leases and settles in one transaction."""
        commands: list[Command] = [
            self.settle_by(back, wish)
            if settles
            else self.views[0].lease(name, f"lease-{next(self.ids)}", most, 20)
            for settles, back, wish, name, most in parts
        ]
        self.do(commands, consumer)

    # Dead letters, moves

    @precondition(lambda self: self.model.records)
    @rule(number=numbers, part=st.booleans(), limit=st.sampled_from([1, 2, 10_000]))
    def retry_dead(self, number: int, limit: int, *, part: bool) -> None:
        record = self.some(number)
        chosen = [(t, o - o % 2 + 1, o + 1) for t, o in self.dead(record)[: 1 + number % 3]]
        ranges = sorted(set(chosen)) if part else None
        self.do([RetryDead(record.name, ranges, limit)])

    @precondition(lambda self: self.model.records)
    @rule(number=numbers)
    def drop_dead(self, number: int) -> None:
        record = self.some(number)
        there = [*self.dead(record), ("a", 1)]
        self.do([DropDead(record.name, *there[number % len(there)])])

    @precondition(lambda self: any(r.selected() for r in self.model.records.values()))
    @rule(number=numbers, tenths=st.lists(st.integers(0, 10), min_size=1, max_size=2), dry=st.booleans())
    def seek(self, number: int, tenths: list[int], *, dry: bool) -> None:
        record = self.some(number)
        log = self.model.log
        starts = {t: log.head(t) * n // 10 for t, n in zip(record.selected(), tenths, strict=False)}
        self.do([Seek(record.name, starts, dry)])

    # What rules choose from

    def some(self, number: int) -> SubscriptionRecord:
        """One of the subscriptions."""
        return list(self.model.records.values())[number % len(self.model.records)]

    def dead(self, record: SubscriptionRecord) -> list[tuple[str, int]]:
        """Topics and offsets of the dead letters of a subscription."""
        return [
            (topic, offset)
            for topic in record.selected()
            for offset, event in record.events(topic)
            if event.fate is Fate.DEAD
        ]


