"""Decisions on the commands of a transaction, the same for every backend.

A backend loads what `storage.subscriptions.workspace.needs` names, has each command decided, and
writes what has changed. Nothing here touches a database or a clock, so every rule of subscriptions
can be read, and tested, in one folder. A command that is refused changes nothing.
"""

from storage.subscriptions import administration, consuming
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
from storage.subscriptions.model import Subscription
from storage.subscriptions.outcomes import Outcome, Refusal
from storage.subscriptions.working_copy import WorkingCopy
from storage.subscriptions.workspace import Changes, Loaded


class Decisions:
    """Decides commands one after the other, each on what those before it leave behind.

    Args:
        loaded: what `needs` of these commands names.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._copy = WorkingCopy(loaded)

    @property
    def changes(self) -> Changes:
        """What is to be written, once every command was decided."""
        return self._copy.changes

    def decide(self, command: Command) -> Outcome:
        """Decide the next command."""
        if isinstance(command, Create):
            return administration.create(self._copy, command)
        subscription = self._copy.subscriptions.get(command.name)
        if subscription is None:
            return Refusal("no_subscription", f"there is no subscription {command.name!r}")
        if isinstance(command, Lease):
            return consuming.lease(self._copy, subscription, command)
        if isinstance(command, Settle):
            return consuming.settle(self._copy, subscription, command)
        return _administer(self._copy, subscription, command)


def _administer(
    copy: WorkingCopy,
    subscription: Subscription,
    command: Change | Delete | Pause | Seek | RetryDead | DropDead,
) -> Outcome:
    match command:
        case Change():
            return administration.change(copy, subscription, command)
        case Delete():
            return administration.delete(copy, subscription)
        case Pause():
            return administration.pause(copy, subscription, command)
        case Seek():
            return administration.seek(copy, subscription, command)
        case RetryDead():
            return administration.retry_dead(copy, subscription)
        case DropDead():
            return administration.drop_dead(copy, subscription, command)
