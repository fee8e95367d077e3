"""Commands of subscriptions on Postgres: decided ahead of the lock, by several stores at once."""

import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from support.events import event

from storage.postgres.store import PostgresStore
from storage.subscriptions.commands import (
    Command,
    Create,
    Lease,
    Settle,
    Token,
)
from storage.subscriptions.model import (
    Beginning,
    Subscription,
    SubscriptionSettings,
    TopicView,
)
from storage.subscriptions.outcomes import (
    Kept,
    Leased,
    Outcome,
    Settled,
)

START = Beginning(at="start")


@pytest.fixture
def backend() -> str:
    return "postgres"


def creation(name: str = "s", **settings: Any) -> Create:
    settings = {"topics": ("t",), "begins": START} | settings
    made = Subscription(name=name, id=str(uuid.uuid4()), settings=SubscriptionSettings(**settings))
    return Create(made, {})


def lease(topics: Sequence[str] = ("t",), most: int = 100, name: str = "s", **more: Any) -> Lease:
    return Lease(name=name, lease=uuid.uuid4().hex, max_events=most, topics=topics, **more)


def token(command: Lease, leased: Outcome, consumer: str = "c") -> Token:
    assert isinstance(leased, Leased)
    extents = tuple((each.topic, each.first, each.last) for each in leased.granted)
    return Token(leased.subscription.id, command.lease, consumer, extents)


def acknowledgement(command: Lease, leased: Outcome, digest: bytes = b"") -> Settle:
    shown = token(command, leased)
    return Settle(name=command.name, token=shown, ack=shown.extents, digest=digest)


async def one(store: PostgresStore, command: Command) -> Outcome:
    (outcome,) = await store.apply([command])
    return outcome


async def fill(store: PostgresStore, topic: str = "t", number: int = 10) -> None:
    await store.append([event(topic, f"e-{n}") for n in range(number)])


async def views(store: PostgresStore, name: str = "s") -> dict[str, TopicView]:
    seen: list[TopicView] = []
    assert await store.view_topics(name, seen.extend) is not None
    return {each.topic: each for each in seen}


async def test_lease_and_settle(store: PostgresStore) -> None:
    await fill(store)
    made = creation()
    assert await one(store, made) == Kept(made.subscription, made=True)
    assert await one(store, made) == Kept(made.subscription)
    taken = lease(most=4)
    leased = await one(store, taken)
    assert isinstance(leased, Leased)
    assert [(each.topic, each.first, each.last) for each in leased.granted] == [("t", 1, 4)]
    settled = await one(store, acknowledgement(taken, leased, b"d"))
    assert isinstance(settled, Settled)
    assert (settled.acknowledged, settled.expires_us) == (4, None)
    again = await one(store, acknowledgement(taken, leased, b"d"))
    assert isinstance(again, Settled)
    assert again.acknowledged == 4
    view = (await views(store))["t"]
    assert (view.head, view.state.place, view.state.acknowledged) == (10, 4, 4)
