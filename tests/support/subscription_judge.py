"""Commands of subscriptions held against a model of them, which follows docs/use/subscriptions.md.

Numbers in brackets are those of the page's sentences.
"""

from collections.abc import Sequence

import msgspec

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
)
from storage.subscriptions.model import SubscriptionSettings
from storage.subscriptions.outcomes import (
    Done,
    Kept,
    Leased,
    Outcome,
    Refusal,
    Retried,
    Sought,
)
from support.subscription_leasing import judge_lease
from support.subscription_model import Fate, Log, SubscriptionRecord, TopicRecord
from support.subscription_settling import judge_settle, places
from support.subscription_views import adopt_subscription

_CHANGING = (
    "topics", "source", "lease_ms", "max_deliveries", "backoff_ms", "on_dead", "stop_after_dead",
    "max_leased",
)  # fmt: skip


class SubscriptionModel:
    """A log, and the subscriptions of it by name."""

    def __init__(self) -> None:
        self.log = Log()
        self.records: dict[str, SubscriptionRecord] = {}

    def judge(
        self,
        command: Command,
        outcome: Outcome | None,
        times: tuple[int, int],
        consumer: str = "",
        *,
        partly: bool = False,
    ) -> None:
        """Check the outcome of a command, and do the same to the model.

        Args:
            command: what was asked for.
            outcome: what was answered; None: nothing was, and the model is to do it if it may.
            times: between which microseconds it was done.
            consumer: the label of a lease's token.
            partly: whether of a lease only what was handed out is known.
        """
        if isinstance(command, Create):
            self._create(command, outcome)
        elif (record := self.records.get(command.name)) is None:
            expect(outcome, "no_subscription")
        elif isinstance(command, Lease):
            self._lease(record, command, outcome, times, consumer, partly=partly)
        elif isinstance(command, Settle):
            judge_settle(record, command, outcome, times)
        else:
            self._administer(record, command, outcome)

    def _administer(
        self,
        record: SubscriptionRecord,
        command: Change | Delete | Pause | Seek | RetryDead | DropDead,
        outcome: Outcome | None,
    ) -> None:
        match command:
            case Change():
                self._change(record, command, outcome)
            case Delete():
                assert outcome in {None, Done()}
                del self.records[command.name]
            case Pause():
                self._pause(record, command, outcome)
            case Seek():
                seek(record, command, outcome)
            case RetryDead():
                retry_dead(record, command, outcome)
            case DropDead():
                drop_dead(record, command, outcome)

    def _create(self, command: Create, outcome: Outcome | None) -> None:
        """PUT [8], [9]."""
        made = command.subscription
        there = self.records.get(made.name)
        if there is not None:
            if there.settings != made.settings:
                expect(outcome, "settings_differ")
                return
            if outcome is not None:
                assert isinstance(outcome, Kept), outcome
                assert not outcome.made
                self._adopt(there, outcome)
            return
        record = SubscriptionRecord(self.log, made.name, made.id, made.settings)
        record.topics = {name: TopicRecord(start) for name, start in command.starts.items()}
        self.records[made.name] = record
        if outcome is not None:
            assert outcome == Kept(made, made=True), outcome

    def _change(self, record: SubscriptionRecord, command: Change, outcome: Outcome | None) -> None:
        """PATCH [11]."""
        new = {name: getattr(command, name) for name in _CHANGING}
        new = {name: value for name, value in new.items() if value is not msgspec.UNSET}
        settings: SubscriptionSettings = msgspec.structs.replace(record.settings, **new)
        if settings.rule_broken():
            expect(outcome, "invalid")
            return
        before = set(record.selected())
        for name in before:
            record.topic(name)
        record.settings = settings
        record.topics = {n: topic for n, topic in record.topics.items() if record.selects(n)}
        if command.topics is not msgspec.UNSET:
            for name, head in command.heads.items():
                if name not in before:
                    record.topics[name] = TopicRecord(head)
        if outcome is not None:
            assert isinstance(outcome, Kept), outcome
            assert not outcome.made
            assert outcome.subscription.settings == settings
            self._adopt(record, outcome)

    def _pause(self, record: SubscriptionRecord, command: Pause, outcome: Outcome | None) -> None:
        """POST pause, and resume [40], [42]."""
        if command.reason is None:
            record.reason, record.paused, record.dead_in_row = None, False, {0}
        elif record.paused is False:
            record.reason, record.paused = command.reason, True
        if outcome is not None:
            assert isinstance(outcome, Kept), outcome
            self._adopt(record, outcome)

    def _lease(
        self,
        record: SubscriptionRecord,
        command: Lease,
        outcome: Outcome | None,
        times: tuple[int, int],
        consumer: str,
        *,
        partly: bool,
    ) -> None:
        """POST lease, with a settle ahead of it or without [15], [26]."""
        if command.settle is not None:
            settled = outcome.settled if isinstance(outcome, Leased) else outcome
            if not judge_settle(record, command.settle, settled, times):
                return
        assert isinstance(outcome, Leased), outcome
        judge_lease(record, command, consumer, outcome, partly=partly)
        if not partly:
            self._adopt(record, outcome)

    def _adopt(self, record: SubscriptionRecord, outcome: Kept | Leased) -> None:
        stored = outcome.subscription
        assert (stored.name, stored.id) == (record.name, record.id)
        assert stored.settings == record.settings
        adopt_subscription(record, stored)


def expect(outcome: Outcome | None, reason: str) -> None:
    """Fail, if a command was not refused for a reason."""
    if outcome is not None:
        assert isinstance(outcome, Refusal), outcome
        assert outcome.reason == reason, outcome
        assert outcome.message, outcome


def seek(record: SubscriptionRecord, command: Seek, outcome: Outcome | None) -> None:
    """POST seek [41]."""
    again = skipped = 0
    for name, start in command.starts.items():
        topic = record.topic(name)
        for offset in range(1, record.log.head(name) + 1):
            was_to_come = offset > topic.start and not topic.event(offset).fate.is_settled
            again += offset > start and not was_to_come
            skipped += offset <= start and was_to_come
        if not command.dry_run:
            record.topics[name] = TopicRecord(start)
    assert outcome in {None, Sought(again, skipped)}, f"{outcome}: {again} again, {skipped} skipped"


def retry_dead(record: SubscriptionRecord, command: RetryDead, outcome: Outcome | None) -> None:
    """POST dead/retry [37]."""
    named = None if command.offsets is None else set(places(command.offsets))
    asked = [
        event
        for name in record.selected()
        for offset, event in record.events(name)
        if event.fate is Fate.DEAD and (named is None or (name, offset) in named)
    ]
    for event in asked[: command.limit]:
        event.wait(0, frozenset({0}))
        event.deliveries = 0
        event.former_errors += event.errors
        event.errors = []
    retried = min(len(asked), command.limit)
    assert outcome in {None, Retried(retried, len(asked) - retried)}, f"{outcome}: {len(asked)}"


def drop_dead(record: SubscriptionRecord, command: DropDead, outcome: Outcome | None) -> None:
    """DELETE dead/{topic}/{offset} [38]."""
    found = [
        event
        for offset, event in record.events(command.topic)
        if offset == command.offset and event.fate is Fate.DEAD
    ]
    if not found or not record.selects(command.topic):
        expect(outcome, "no_dead_letter")
        return
    assert outcome in {None, Done()}, outcome
    found[0].end(Fate.ACKNOWLEDGED)
    record.dead_in_row |= {0}


def names_of(commands: Sequence[Command]) -> set[str]:
    """The subscriptions that commands are for."""
    return {c.subscription.name if isinstance(c, Create) else c.name for c in commands}
