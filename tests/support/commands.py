"""Commands of subscriptions, for tests of the stores."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from storage.subscriptions.commands import Create, Lease, Settle, Token
from storage.subscriptions.model import Beginning, Subscription, SubscriptionSettings
from storage.subscriptions.outcomes import Leased, Outcome

SETTINGS = SubscriptionSettings(topics=("t",), begins=Beginning(at="start"))


def creation(
    name: str = "s",
    settings: SubscriptionSettings = SETTINGS,
    starts: Mapping[str, int] | None = None,
) -> Create:
    """Make a subscription to the topic `t`, from its start, unless told otherwise."""
    return Create(Subscription(name=name, id=str(uuid.uuid4()), settings=settings), starts or {})


def lease(most: int = 100, *topics: str, name: str = "s", **more: Any) -> Lease:
    """Hand out so many events at most, of the topic `t` unless told otherwise."""
    return Lease(
        name=name, lease=uuid.uuid4().hex, max_events=most, topics=topics or ("t",), **more
    )


def extents(leased: Outcome) -> Sequence[tuple[str, int, int]]:
    """Return what a lease has: topics, first and last offsets."""
    assert isinstance(leased, Leased), leased
    return [(each.topic, each.first, each.last) for each in leased.granted]


def settle(command: Lease, leased: Outcome, *, consumer: str = "c", **parts: Any) -> Settle:
    """Settle a lease: acknowledge all of it, or what the parts say."""
    assert isinstance(leased, Leased), leased
    token = Token(leased.subscription.id, command.lease, consumer, tuple(extents(leased)))
    return Settle(name=command.name, token=token, **(parts or {"ack": extents(leased)}))
