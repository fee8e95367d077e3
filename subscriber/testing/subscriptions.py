"""The subscriptions of a double: commands are done, and refused ones raise the library's errors."""

from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import uuid4

from storage.subscriptions.commands import Command, Create, Seek
from storage.subscriptions.model import Subscription
from storage.subscriptions.outcomes import Kept, Outcome, Refusal, Sought
from storage.topic_patterns import TopicSelection
from subscriber.errors import LeaseLost, SubscriptionRefused
from subscriber.testing.beginnings import parse_beginning, starts
from subscriber.testing.database import SubscriptionDatabase
from subscriber.testing.log import EventLog
from subscriber.testing.rules import check_subscription_name
from subscriber.testing.settings import parse_settings

_STATUSES = {
    "no_subscription": 404,
    "no_dead_letter": 404,
    "settings_differ": 409,
    "invalid": 422,
}
"""By the reason of a refusal."""

_Kind = TypeVar("_Kind", bound=Outcome)


class Subscriptions:
    """The subscriptions to a log.

    Every method raises SubscriptionRefused for what an aggregator refuses.

    Args:
        log: the events.
        database: what is kept of subscriptions.
    """

    def __init__(self, log: EventLog, database: SubscriptionDatabase) -> None:
        self._log = log
        self._database = database

    def there(self, name: str) -> Subscription:
        """Return a subscription."""
        found = self._database.subscription(name)
        if found is None:
            raise SubscriptionRefused(404, f"there is no subscription {name!r}")
        return found

    def do(self, command: Command, kind: type[_Kind]) -> _Kind:
        """Have a command done.

        Args:
            command: the command.
            kind: of its outcome.

        Raises:
            LeaseLost: the lease of a settle is lost.
        """
        (outcome,) = self._database.apply([command])
        if isinstance(outcome, Refusal):
            if outcome.reason == "lease_lost":
                raise LeaseLost(outcome.message)
            raise SubscriptionRefused(_STATUSES[outcome.reason], outcome.message)
        if not isinstance(outcome, kind):
            raise TypeError(f"{type(command).__name__} has the outcome {type(outcome).__name__}")
        return outcome

    def create(self, name: str, settings: Mapping[str, Any]) -> bool:
        """Make a subscription, unless one with equal settings is there; return whether it did."""
        check_subscription_name(name)
        now_us = self._database.now_us
        parsed = parse_settings(settings, now_us)
        made = Subscription(name=name, id=str(uuid4()), settings=parsed)
        first: Mapping[str, int] = {}
        if self._database.subscription(name) is None:
            first = starts(self._log, parsed.begins, TopicSelection(parsed.topics), now_us)
        return self.do(Create(made, first), Kept).made

    def seek(self, name: str, begins: object, *, dry_run: bool) -> Sought:
        """Move a subscription, or only say what that would do."""
        now_us = self._database.now_us
        parsed = parse_beginning("from", begins, now_us)
        selection = TopicSelection(self.there(name).settings.topics)
        return self.do(Seek(name, starts(self._log, parsed, selection, now_us), dry_run), Sought)
