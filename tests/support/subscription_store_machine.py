"""Hypothesis: the machine of subscriptions on real stores, whose answers may be lost."""

from collections.abc import Iterable, Sequence
from copy import deepcopy

from hypothesis import strategies as st
from hypothesis.stateful import rule

from storage.subscriptions.commands import Command, Lease, Settle
from storage.subscriptions.model import FailedEvent
from storage.subscriptions.outcomes import Granted, Leased, Outcome
from support.subscription_judge import SubscriptionModel, names_of
from support.subscription_machine import SubscriptionMachine
from support.subscription_model import MS, SubscriptionRecord
from support.subscription_requests import Looked
from support.subscription_stores import Cut, StoreDatabase
from support.subscription_strategies import NAMES
from support.subscription_views import compare, compare_dead

_REAL_MS = {1000: 60_000, 1100: 60_000, 4000: 25}
"""A lease that lasts, and one that soon runs out; all other times are short."""


class StoreMachine(SubscriptionMachine):
    """Subscriptions behind two stores on one database."""

    database: StoreDatabase
    repeats = False

    def __init__(self, database: StoreDatabase) -> None:
        model = SubscriptionModel()
        database.begin(model.log)
        super().__init__(database, model)

    def in_time(self, ms: int) -> int:
        """See `SubscriptionRun`: the clock of a database is not moved."""
        return _REAL_MS.get(ms, ms // 50)

    @rule(tenths=st.integers(0, 30), loses_answer=st.booleans())
    def cut_off(self, tenths: int, *, loses_answer: bool) -> None:
        self.database.cut = Cut(tenths / 10, loses_answer)

    def teardown(self) -> None:
        if self.agrees_so_far:
            self.database.cut = Cut(loses_answer=True)
            self.lease(NAMES[0], 0, 5, "w", 20, few=False)
            for name in NAMES:
                self.look_at(name)

    @rule()
    def forget_settles(self) -> None:
        self.database.forget_settles()

    def learn(self, commands: Sequence[Command], consumer: str, times: tuple[int, int]) -> None:
        """See `SubscriptionRun`: they were done as a whole, or not at all."""
        looks = {name: self.database.look(name) for name in names_of(commands)}
        letters = [
            letter
            for looked in looks.values()
            if looked is not None
            for letter in self.database.dead_letters(looked[0].id)
        ]
        trials = [self.model.records]
        trials += [
            trial.records
            for now_us in candidates(commands, looks, letters, times)
            for trial in [deepcopy(self.model)]
            if self.is_done(trial, commands, looks, now_us, consumer)
        ]
        for records in trials[::-1]:
            if self.agrees(deepcopy(records), looks):
                self.model.records = records
                break
        else:
            raise AssertionError(f"{commands} are neither done nor not: {looks}")
        both = [each.settle if isinstance(each, Lease) else each for each in commands]
        self.settles += [each for each in both if isinstance(each, Settle)]

    def is_done(
        self,
        trial: SubscriptionModel,
        commands: Sequence[Command],
        looks: dict[str, Looked | None],
        now_us: int,
        consumer: str,
    ) -> bool:
        """Have a model do commands at a time as far as can be seen; whether it may be so."""
        try:
            for command in commands:
                outcome = None
                if isinstance(command, Lease) and (looked := looks[command.name]) is not None:
                    outcome = leased(command, looked, now_us)
                trial.judge(command, outcome, (now_us, now_us), consumer, partly=True)
        except AssertionError:
            return False
        return True

    def agrees(
        self, records: dict[str, SubscriptionRecord], looks: dict[str, Looked | None]
    ) -> bool:
        """Whether a model is what was seen."""
        try:
            for name, looked in looks.items():
                assert (name in records) == (looked is not None)
                if looked is not None:
                    compare(records[name], *looked)
                    compare_dead(records[name], self.database.dead_letters(looked[0].id))
        except AssertionError:
            return False
        return True


def leased(command: Lease, looked: Looked, now_us: int) -> Outcome:
    """What a lease has handed out, by what is kept."""
    subscription, views, _ = looked
    granted = [
        Granted(view.topic, each.first, each.last, each.deliveries)
        for view in views
        for each in view.state.ranges
        if each.lease == command.lease
    ]
    expires_us = now_us + subscription.settings.lease_ms * MS
    return Leased(subscription=subscription, granted=granted, now_us=now_us, expires_us=expires_us)


def candidates(
    commands: Sequence[Command],
    looks: dict[str, Looked | None],
    letters: Sequence[FailedEvent],
    times: tuple[int, int],
) -> Iterable[int]:
    """Times at which commands may have been done: whatever is kept of it was counted from then."""
    first_us, last_us = times
    waits_ms = {0}
    for command in commands:
        settle = command.settle if isinstance(command, Lease) else command
        if isinstance(settle, Settle):
            waits_ms |= {settle.extend_ms or 0, *(each.after_ms or 0 for each in settle.retry)}
    found = {last_us, *(letter.dead_us or 0 for letter in letters)}
    for looked in looks.values():
        if looked is None:
            continue
        settings = looked[0].settings
        waits_ms |= {settings.lease_ms, *settings.backoff_ms}
        kept = [each.until_us for view in looked[1] for each in view.state.ranges]
        found |= {until_us - wait_ms * MS for until_us in kept for wait_ms in waits_ms}
    return sorted(each for each in found if first_us <= each <= last_us)
