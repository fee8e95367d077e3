"""The database of a double of an aggregator, as the machine of subscriptions drives one."""

from collections.abc import Sequence

from storage.subscriptions.commands import Command
from storage.subscriptions.model import FailedEvent
from storage.subscriptions.outcomes import Outcome
from subscriber.testing.database import SubscriptionDatabase
from subscriber.testing.events import NewEvent
from subscriber.testing.log import EventLog
from support.subscription_core import FIRST_US
from support.subscription_model import Log
from support.subscription_requests import Looked


class DoubleDatabase:
    """The log and the database of a double.

    Args:
        log: what is stored is written down here, for the model.
    """

    def __init__(self, log: Log) -> None:
        self._model_log = log
        self._log = EventLog()
        self._database = SubscriptionDatabase(self._log, FIRST_US)

    def apply(self, commands: Sequence[Command]) -> tuple[list[Outcome] | None, tuple[int, int]]:
        """See `SubscriptionDatabase`."""
        now_us = self._database.now_us
        return self._database.apply(commands), (now_us, now_us)

    def look(self, name: str) -> Looked | None:
        """See `SubscriptionDatabase`."""
        found = self._database.subscription(name)
        if found is None:
            return None
        return found, self._database.views(found), self._database.now_us

    def dead_letters(self, subscription_id: str) -> list[FailedEvent]:
        """See `SubscriptionDatabase`."""
        return self._database.dead_letters(subscription_id)

    def publish(self, topic: str, sources: Sequence[str]) -> None:
        """See `SubscriptionDatabase`."""
        for source in sources:
            event_id = f"e-{self._log.head(topic) + 1}"
            self._log.publish(NewEvent(topic, event_id, 0, source, "{}"), self._database.now_us)
            stored = self._model_log.topics.setdefault(topic, [])
            stored.append((source, self._database.now_us))
        self._database.now_us += 1

    def let_pass(self, how: str, times_us: Sequence[int]) -> None:
        """See `SubscriptionDatabase`."""
        now_us = self._database.now_us
        to_come = [time_us for time_us in times_us if time_us > now_us] or [now_us]
        self._database.now_us = {
            "edge": to_come[0],
            "before": max(now_us, to_come[0] - 1),
            "last": to_come[-1],
            "second": now_us + 10**6,
            "day": now_us + 86_400 * 10**6,
        }[how]
