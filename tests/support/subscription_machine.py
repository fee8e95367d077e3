"""Hypothesis: a machine of everything that is done with subscriptions, beside a model of them."""

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

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

names = st.sampled_from([NAMES[0], *NAMES])
topics = st.sampled_from(TOPICS)
batches = st.lists(st.sampled_from(SOURCES), min_size=1, max_size=12)
aggregators = st.integers(0, 1)
consumers = st.sampled_from(["w", "v"])
sizes = st.sampled_from([1, 2, 3, 10, 12, 100])
recent = st.sampled_from([1, 1, 1, 2, 2, 3, 4, 6])
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

    @initialize(
        drawn=st.tuples(many_settings, many_settings),
        there=st.lists(st.tuples(topics, batches), min_size=1, max_size=4),
    )
    def begin_with_some_events(
        self,
        drawn: tuple[SubscriptionSettings, SubscriptionSettings],
        there: list[tuple[str, list[str]]],
    ) -> None:
        for name, each in zip(NAMES, drawn, strict=True):
            self.create(name, each, "start")
        for topic, sources in there:
            self.publish(topic, sources)

    # Events and time

    @rule(topic=topics, sources=batches)
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

    @rule(name=names, changed=changes)
    def change(self, name: str, changed: dict[str, Any]) -> None:
        heads = {}
        if "topics" in changed:
            settings = SubscriptionSettings(topics=changed["topics"])
            made = SubscriptionRecord(self.model.log, name, "", settings)
            heads = {topic: self.model.log.head(topic) for topic in made.selected()}
        self.do([Change(name=name, heads=heads, **changed)])

    @rule(
        name=names,
        how=st.sampled_from(["pause", "resume", "resume", "refresh", "equal", "other", "delete"]),
        at=aggregators,
    )
    def administer(self, name: str, how: str, at: int) -> None:
        record = self.model.records.get(name)
        if how == "pause":
            self.do([Pause(name, "for a while")])
        elif how == "resume":
            self.do([Pause(name, None)])
        elif how == "refresh":
            self.views[at].refresh(name)
        elif how == "delete":
            self.do([Delete(name)])
        elif record is not None:
            settings = record.settings
            if how == "other":
                settings = msgspec.structs.replace(settings, lease_ms=settings.lease_ms + 1)
            self.create_with(name, settings, {})

    # Leasing, settling

    @rule(
        name=names,
        at=aggregators,
        most=sizes,
        consumer=consumers,
        width=st.integers(1, 20),
        few=st.sampled_from([False]),
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

    @rule(name=names, most=sizes, again=sizes, wish=wishes)
    def consume(self, name: str, most: int, again: int, wish: Wishes) -> None:
        """Two that compete, and the first of them settles."""
        self.lease(name, 0, most, "w", 20, few=False)
        self.lease(name, 1, again, "v", 20, few=False)
        if self.tokens:
            self.settle(2, wish)

    @rule(name=names, most=sizes, again=sizes, wish=wishes, how=st.sampled_from(["edge", "last"]))
    def lose(self, name: str, most: int, again: int, wish: Wishes, how: str) -> None:
        """A lease runs out, somebody else is given what there is, and the first one settles."""
        self.lease(name, 0, most, "w", 20, few=False)
        self.let_time_pass(how)
        self.lease(name, 1, again, "v", 20, few=False)
        if self.tokens:
            self.settle(2, wish)

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

    @precondition(lambda self: any(map(self.dead, self.model.records.values())))
    @rule(number=numbers, how=st.sampled_from(["all", "some", "one"]), limit=st.sampled_from([1, 2, 99]))
    def revive(self, number: int, how: str, limit: int) -> None:
        record = self.some(number)
        dead = self.dead(record)
        if how == "one":
            there = [*dead, ("a", 1)]
            self.do([DropDead(record.name, *there[number % len(there)])])
            return
        chosen = {(topic, o - o % 2 + 1, o + 1) for topic, o in dead[: 1 + number % 3]}
        self.do([RetryDead(record.name, None if how == "all" else sorted(chosen), limit)])

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


