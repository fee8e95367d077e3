"""The refusals of subscriptions as errors, each with the status of its response."""

from http import HTTPStatus
from typing import ClassVar

from storage.subscriptions.outcomes import Refusal


class SubscriptionRefused(Exception):
    """A request to a subscription is refused, and nothing of it was done.

    Args:
        message: one sentence for its sender.
    """

    reason: ClassVar[str]
    """As `storage.subscriptions.outcomes.Refusal` names it."""
    status: ClassVar[HTTPStatus]
    code: ClassVar[str | None] = None
    """What programs tell refusals of the same status apart by."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NoSuchSubscription(SubscriptionRefused):
    """No subscription has this name."""

    reason = "no_subscription"
    status = HTTPStatus.NOT_FOUND


class SettingsDiffer(SubscriptionRefused):
    """A subscription of this name has other settings."""

    reason = "settings_differ"
    status = HTTPStatus.CONFLICT
    code = "settings_differ"


class LeaseLost(SubscriptionRefused):
    """The lease has run out or is over, or does not hold an event that is to be settled."""

    reason = "lease_lost"
    status = HTTPStatus.CONFLICT
    code = "lease_lost"


class InvalidCommand(SubscriptionRefused):
    """The request breaks a rule that only the state of the subscription shows."""

    reason = "invalid"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class NoSuchDeadLetter(SubscriptionRefused):
    """The event is no dead letter of the subscription."""

    reason = "no_dead_letter"
    status = HTTPStatus.NOT_FOUND


_KINDS: dict[str, type[SubscriptionRefused]] = {
    kind.reason: kind
    for kind in (NoSuchSubscription, SettingsDiffer, LeaseLost, InvalidCommand, NoSuchDeadLetter)
}


def refusal(refused: Refusal) -> SubscriptionRefused:
    """Return the error that a refusal of storage means."""
    return _KINDS[refused.reason](refused.message)
