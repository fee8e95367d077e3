"""A run of commands on subscriptions: each is done, judged by the model, and looked at."""

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec

from storage.subscriptions.commands import Command, Lease, Settle, Token
from storage.subscriptions.model import SubscriptionSettings
from storage.subscriptions.outcomes import Leased, Outcome
from support.subscription_judge import SubscriptionModel, names_of
from support.subscription_model import Fate, SubscriptionRecord
from support.subscription_requests import AggregatorView, SubscriptionDatabase
from support.subscription_strategies import Wishes, settle_of
from support.subscription_views import compare, compare_dead


class SubscriptionRun:
    """Subscriptions in a database, the model of them, and what clients have been told."""

    database: SubscriptionDatabase
    model: SubscriptionModel

    def begin(self, database: SubscriptionDatabase, model: SubscriptionModel) -> None:
        """Begin without any subscription."""
        self.database = database
        self.model = model
        self.views = [AggregatorView(model), AggregatorView(model)]
        self.ids = itertools.count(1)
        self.tokens: list[tuple[str, Token]] = []
        self.settles: list[Settle] = []
        self.agrees_so_far = True
        """Whether no command has been found wrong."""

    def do(self, commands: Sequence[Command], consumer: str = "") -> list[Outcome] | None:
        """Have commands done in one transaction, and judge the outcomes.

        None: nobody knows what they are; empty: nothing was done.
        """
        self.agrees_so_far = False
        outcomes, times = self.database.apply(commands)
        if outcomes is None:
            self.learn(commands, consumer, times)
        elif outcomes:
            for command, outcome in zip(commands, outcomes, strict=True):
                self.model.judge(command, outcome, times, consumer)
                self.note(command, outcome, consumer)
        for name in sorted(names_of(commands)):
            self.look_at(name)
        self.agrees_so_far = True
        return outcomes

    def learn(self, commands: Sequence[Command], consumer: str, times: tuple[int, int]) -> None:
        """Find out by a look whether commands without an answer were done."""
        raise NotImplementedError

    def in_time(self, ms: int) -> int:
        """The milliseconds that stand for so many of a clock that a test moves."""
        return ms

    def timed(self, key: str, value: Any) -> Any:
        """A setting in times of the clock of the database."""
        if key == "lease_ms":
            return self.in_time(value)
        return tuple(map(self.in_time, value)) if key == "backoff_ms" else value

    def settings(self, drawn: SubscriptionSettings) -> SubscriptionSettings:
        """All settings in such times."""
        values = msgspec.structs.asdict(drawn)
        return SubscriptionSettings(
            **{key: self.timed(key, value) for key, value in values.items()}
        )

    def note(self, command: Command, outcome: Outcome, consumer: str) -> None:
        """Keep what a consumer is told: the token, and the settle that may be sent again."""
        if isinstance(command, Settle):
            self.settles.append(command)
        if isinstance(command, Lease) and command.settle is not None:
            self.settles.append(command.settle)
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
            assert record is None and looked is None, f"there is {looked}, but {record}"  # noqa: PT018
            return
        stored, views, now_us = looked
        compare(record, stored, views, now_us)
        compare_dead(record, self.database.dead_letters(record.id))

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

    def settle_by(self, back: int, wish: Wishes) -> Settle:
        """A settle by one of the last tokens; those whose leases have events come first."""
        tokens = sorted(self.tokens, key=self.has_events)
        return self.settle_of(*tokens[-min(back, len(tokens))], wish)

    def has_events(self, given: tuple[str, Token]) -> bool:
        """Whether a lease has events, run out or not."""
        name, token = given
        record = self.model.records.get(name)
        lease = None if record is None else record.leases.get(token.lease)
        return record is not None and lease is not None and any(record.held(lease))

    def settle_of(self, name: str, token: Token, wish: Wishes) -> Settle:
        """A settle by a token."""
        extend_ms, after_ms = (
            None if ms is None else self.in_time(ms) for ms in (wish.extend_ms, wish.after_ms)
        )
        wish = wish._replace(extend_ms=extend_ms, after_ms=after_ms)
        return settle_of(name, self.model.records.get(name), token, wish)

    def some(self, number: int) -> SubscriptionRecord:
        """One of the subscriptions."""
        return list(self.model.records.values())[number % len(self.model.records)]

    def has_topics(self) -> bool:
        """Whether a subscription has a topic that exists."""
        return any(record.selected() for record in self.model.records.values())

    def has_dead(self) -> bool:
        """Whether there is a dead letter."""
        return any(map(self.dead, self.model.records.values()))

    def dead(self, record: SubscriptionRecord) -> list[tuple[str, int]]:
        """Topics and offsets of the dead letters of a subscription."""
        return [
            (topic, offset)
            for topic in record.selected()
            for offset, event in record.events(topic)
            if event.fate is Fate.DEAD
        ]
