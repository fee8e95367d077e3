"""Hypothesis: a machine of everything that is done with subscriptions, beside a model of them."""

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
    Pause,
    RetryDead,
    Seek,
)
from storage.subscriptions.model import Beginning, Subscription, SubscriptionSettings
from storage.subscriptions.outcomes import Leased
from support.subscription_judge import SubscriptionModel
from support.subscription_model import SubscriptionRecord
from support.subscription_requests import SubscriptionDatabase
from support.subscription_run import SubscriptionRun
from support.subscription_strategies import (
    NAMES,
    SOURCES,
    TOPICS,
    Wishes,
    changes,
    many_settings,
    wishes,
)

names = st.sampled_from([NAMES[0], *NAMES])
topics = st.sampled_from(TOPICS)
batches = st.lists(st.sampled_from(SOURCES), min_size=1, max_size=12)
aggregators = st.integers(0, 1)
consumers = st.sampled_from(["w", "v"])
sizes = st.sampled_from([1, 2, 3, 10, 12, 100])
recent = st.sampled_from([1, 1, 1, 2, 2, 3, 4, 6])
numbers = st.integers(0, 30)


class SubscriptionMachine(SubscriptionRun, RuleBasedStateMachine):
    """Everything that is done with subscriptions, in any order."""

    repeats = True
    """Whether the same rules always have the same outcomes."""

    def __init__(self, database: SubscriptionDatabase, model: SubscriptionModel) -> None:
        super().__init__()
        self.begin(database, model)

    @invariant()
    def the_law_holds_and_all_is_as_the_model_says(self) -> None:
        # On a database that takes time, those are looked at that commands were for.
        for name in NAMES if self.repeats else ():
            self.look_at(name)

    @initialize(
        drawn=st.tuples(many_settings, many_settings),
        there=st.lists(batches, min_size=1, max_size=4),
    )
    def begin_with_some_events(
        self,
        drawn: tuple[SubscriptionSettings, SubscriptionSettings],
        there: list[list[str]],
    ) -> None:
        for name, each in zip(NAMES, drawn, strict=True):
            self.create(name, each, "start")
        for topic, sources in zip([*TOPICS[:2], *TOPICS], there, strict=False):
            self.publish(topic, sources)

    # Events and time

    @rule(topic=topics, sources=batches)
    def publish(self, topic: str, sources: list[str]) -> None:
        self.database.publish(topic, sources)

    @rule(how=st.sampled_from(["edge", "edge", "edge", "before", "last", "second", "day"]))
    def let_time_pass(self, how: str) -> None:
        self.database.let_pass(how, self.times_to_come())

    # Making, changing

    @rule(name=names, drawn=many_settings, how=st.sampled_from(["start", "now", "offsets"]))
    def create(self, name: str, drawn: SubscriptionSettings, how: str) -> None:
        log = self.model.log
        at = {"start": 0, "now": 1, "offsets": 0.5}[how]
        starts = {topic: int(log.head(topic) * at) for topic in log.topics}
        begins = Beginning(offsets=starts) if how == "offsets" else Beginning(at=how)
        settings = msgspec.structs.replace(self.settings(drawn), begins=begins)
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
        changed = {key: self.timed(key, value) for key, value in changed.items()}
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
        few=st.sampled_from([False, False, True]),
    )
    def lease(self, name: str, at: int, most: int, consumer: str, width: int, *, few: bool) -> None:
        view = self.views[at]
        for _ in range(200):
            command = view.lease(name, f"lease-{next(self.ids)}", most, width, few=few)
            outcomes = self.do([command], consumer)
            if not outcomes or not isinstance(leased := outcomes[0], Leased):
                return
            view.learn(leased)
            if leased.granted or not leased.scan:
                return
        raise AssertionError(f"the filter has no end: {leased}")

    @rule(name=names, most=sizes, again=sizes, wish=wishes, then=wishes)
    def consume(self, name: str, most: int, again: int, wish: Wishes, then: Wishes) -> None:
        """Two that compete, and the first of them settles, and settles again."""
        before = len(self.tokens)
        self.lease(name, 0, most, "w", 20, few=False)
        self.lease(name, 1, again, "v", 20, few=False)
        for given in self.tokens[before : before + 1]:
            self.do([self.settle_of(*given, wish)])
            self.do([self.settle_of(*given, then)])

    @rule(name=names, most=sizes, then=st.lists(wishes, min_size=2, max_size=5))
    def work(self, name: str, most: int, then: list[Wishes]) -> None:
        """One that leases and settles by turns."""
        for wish in then:
            given = [each for each in self.tokens if each[0] == name and self.has_events(each)]
            if not given:
                before = len(self.tokens)
                self.lease(name, 0, most, "w", 20, few=False)
                given = self.tokens[before:]
            if given:
                self.do([self.settle_of(*given[-1], wish)])

    @rule(name=names, most=sizes, again=sizes, wish=wishes, how=st.sampled_from(["edge", "last"]))
    def lose(self, name: str, most: int, again: int, wish: Wishes, how: str) -> None:
        """A lease runs out, somebody else is given what there is, and the first one settles."""
        before = len(self.tokens)
        self.lease(name, 0, most, "w", 20, few=False)
        self.let_time_pass(how)
        self.lease(name, 1, again, "v", 20, few=False)
        for given in self.tokens[before : before + 1]:
            self.do([self.settle_of(*given, wish)])

    @precondition(lambda self: self.tokens or not self.repeats)
    @rule(back=recent, wish=wishes)
    def settle(self, back: int, wish: Wishes) -> None:
        if not self.tokens:
            return
        self.do([self.settle_by(back, wish)])

    @precondition(lambda self: self.tokens or not self.repeats)
    @rule(back=recent, wish=wishes, most=sizes, consumer=consumers)
    def settle_and_lease(self, back: int, wish: Wishes, most: int, consumer: str) -> None:
        """Both in one request [26]."""
        if not self.tokens:
            return
        settle = self.settle_by(back, wish)
        lease = self.views[0].lease(settle.name, f"lease-{next(self.ids)}", most, settle=settle)
        self.do([lease], consumer)

    @precondition(lambda self: self.settles or not self.repeats)
    @rule(back=recent, extend_ms=st.sampled_from([None, 2000]))
    def settle_again(self, back: int, extend_ms: int | None) -> None:
        if not self.settles:
            return
        command = self.settles[-back] if back <= len(self.settles) else self.settles[0]
        self.do([msgspec.structs.replace(command, extend_ms=extend_ms and self.in_time(extend_ms))])

    @precondition(lambda self: self.tokens or not self.repeats)
    @rule(
        parts=st.lists(
            st.tuples(st.booleans(), recent, wishes, names, sizes, st.booleans()),
            min_size=2,
            max_size=4,
        ),
        consumer=consumers,
    )
    def together(
        self, parts: list[tuple[bool, int, Wishes, str, int, bool]], consumer: str
    ) -> None:
        """Leases and settles in one transaction."""
        if not self.tokens:
            return
        commands: list[Command] = [
            self.settle_by(back, wish)
            if settles
            else self.views[0].lease(name, f"lease-{next(self.ids)}", most, few=few)
            for settles, back, wish, name, most, few in parts
        ]
        self.do(commands, consumer)

    # Dead letters, moves

    @precondition(lambda self: self.has_dead() or not self.repeats)
    @rule(
        number=numbers,
        how=st.sampled_from(["all", "some", "one"]),
        limit=st.sampled_from([1, 2, 99]),
    )
    def revive(self, number: int, how: str, limit: int) -> None:
        if not self.has_dead():
            return
        record = self.some(number)
        dead = self.dead(record)
        if how == "one":
            there = [*dead, ("a", 1)]
            self.do([DropDead(record.name, *there[number % len(there)])])
            return
        chosen = {(topic, o - o % 2 + 1, o + 1) for topic, o in dead[: 1 + number % 3]}
        self.do([RetryDead(record.name, None if how == "all" else sorted(chosen), limit)])

    @precondition(lambda self: self.has_topics() or not self.repeats)
    @rule(
        number=numbers,
        tenths=st.lists(st.integers(0, 10), min_size=1, max_size=2),
        dry=st.booleans(),
    )
    def seek(self, number: int, tenths: list[int], *, dry: bool) -> None:
        if not self.has_topics():
            return
        record = self.some(number)
        log = self.model.log
        starts = {t: log.head(t) * n // 10 for t, n in zip(record.selected(), tenths, strict=False)}
        self.do([Seek(record.name, starts, dry)])
