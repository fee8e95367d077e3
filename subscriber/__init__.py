"""A client library that follows the topics of an aggregator, and consumes its subscriptions.

async with follow("http://127.0.0.1:8080", "orders", start="start") as events:
    async for event in events:
        print(event.offset, event.payload)

async with Subscriber("http://127.0.0.1:8080", "billing") as subscriber:
    await subscriber.run(handle, concurrency=8)
"""

from publisher.credentials import Credentials
from publisher.tokens import CredentialsInvalid
from subscriber.blocking import BlockingSubscriber
from subscriber.blocking_delivery import BlockingBatch, BlockingDelivery
from subscriber.checkpoints import (
    CHECKPOINT_TABLE,
    CheckpointDamaged,
    CheckpointTableMissing,
    ConnectionInCheckpoint,
    DoneElsewhere,
    TransactionEnded,
    checkpoint,
    create_checkpoint_table,
)
from subscriber.delivery import Batch, Delivery
from subscriber.errors import (
    AlreadySettled,
    FollowError,
    FollowGaveUp,
    FollowRefused,
    GapError,
    HandlerFailed,
    HandlerUnavailable,
    HoleError,
    LeaseLost,
    SubscriptionError,
    SubscriptionGaveUp,
    SubscriptionRefused,
    TransactionOpen,
)
from subscriber.events import Event, Gap
from subscriber.follow import follow
from subscriber.following import Following
from subscriber.policy import ReconnectPolicy, Wait
from subscriber.results import result_id
from subscriber.subscription import Subscriber

__all__ = [
    "CHECKPOINT_TABLE",
    "AlreadySettled",
    "Batch",
    "BlockingBatch",
    "BlockingDelivery",
    "BlockingSubscriber",
    "CheckpointDamaged",
    "CheckpointTableMissing",
    "ConnectionInCheckpoint",
    "Credentials",
    "CredentialsInvalid",
    "Delivery",
    "DoneElsewhere",
    "Event",
    "FollowError",
    "FollowGaveUp",
    "FollowRefused",
    "Following",
    "Gap",
    "GapError",
    "HandlerFailed",
    "HandlerUnavailable",
    "HoleError",
    "LeaseLost",
    "ReconnectPolicy",
    "Subscriber",
    "SubscriptionError",
    "SubscriptionGaveUp",
    "SubscriptionRefused",
    "TransactionEnded",
    "TransactionOpen",
    "Wait",
    "checkpoint",
    "create_checkpoint_table",
    "follow",
    "result_id",
]
