"""Commands of subscriptions on a store: made, leased and acknowledged with little to say."""

import uuid
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from storage.protocols import EventStore
from storage.subscriptions.commands import Command, Create, Lease, Settle, Token
from storage.subscriptions.model import Beginning, Subscription, SubscriptionSettings, TopicView
from storage.subscriptions.outcomes import Leased, Outcome
from support.events import event

START = Beginning(at="start")


def creation(name: str = "s", **settings: Any) -> Create:
    """A subscription of the topic `t` from its start, with other settings where they are given."""
    made = replace(SubscriptionSettings(topics=("t",), begins=START), **settings)
    return Create(Subscription(name=name, id=str(uuid.uuid4()), settings=made), {})


def lease(
    topics: Sequence[str] = ("t",), most: int = 100, *, name: str = "s", all_topics: bool = True
) -> Lease:
    """A lease with an id of its own."""
    id_ = uuid.uuid4().hex
    return Lease(name=name, lease=id_, max_events=most, topics=topics, all_topics=all_topics)


def token(command: Lease, leased: Outcome, consumer: str = "c") -> Token:
    """What the consumer of a lease shows."""
    assert isinstance(leased, Leased)
    topics = dict.fromkeys(each.topic for each in leased.granted)
    extents = tuple(
        (
            topic,
            min(each.first for each in leased.granted if each.topic == topic),
            max(each.last for each in leased.granted if each.topic == topic),
        )
        for topic in topics
    )
    return Token(leased.subscription.id, command.lease, consumer, extents)


def acknowledgement(command: Lease, leased: Outcome, digest: bytes = b"") -> Settle:
    """All that a lease handed out, acknowledged."""
    shown = token(command, leased)
    return Settle(name=command.name, token=shown, ack=shown.extents, digest=digest)


async def one(store: EventStore, command: Command) -> Outcome:
    """Do one command."""
    (outcome,) = await store.apply([command])
    return outcome


async def fill(store: EventStore, topic: str = "t", number: int = 10) -> None:
    """Store so many events in a topic."""
    await store.append([event(topic, f"e-{n}") for n in range(number)])


async def views(store: EventStore, name: str = "s") -> dict[str, TopicView]:
    """The topics of a subscription as they are, by name."""
    seen: list[TopicView] = []
    assert await store.view_topics(name, seen.extend) is not None
    return {each.topic: each for each in seen}
