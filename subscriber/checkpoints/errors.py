"""The errors of checkpoints; the message of each is one sentence."""

from subscriber.errors import SubscriptionError


class CheckpointTableMissing(SubscriptionError):
    """The database has no table `subscriber_checkpoints`."""


class CheckpointDamaged(SubscriptionError):
    """The table `subscriber_checkpoints` is not as its statement makes it, or hides its rows."""


class ConnectionInCheckpoint(SubscriptionError, RuntimeError):
    """A connection was to begin a checkpoint while it is in the block of another one.

    Each handler that runs beside others needs a connection of its own.
    """


class TransactionEnded(SubscriptionError, RuntimeError):
    """The transaction of a checkpoint was committed or rolled back inside its block.

    Nothing was noted as done. What the block wrote before that commit stays.
    """


class DoneElsewhere(SubscriptionError):
    """Another consumer has done events of a block, and committed, before the block could end.

    One of the two has lost its lease. What the block wrote is undone; when its events are delivered
    again, they are found done.
    """
