"""Commands of subscriptions on Postgres: decided ahead of the lock, by several stores at once."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from support.backends import Database
from support.events import event
from support.observer import Observer
from support.subscribing import acknowledgement, creation, fill, lease, one, token, views

from storage.postgres import subscriptions
from storage.postgres.store import PostgresStore
from storage.postgres.subscription_rows import CHANGES_PER_ROW
from storage.subscriptions.commands import (
    Change,
    Command,
    Create,
    Death,
    Delete,
    DropDead,
    Lease,
    Pause,
    Retry,
    RetryDead,
    Seek,
    Settle,
    Token,
)
from storage.subscriptions.model import (
    Beginning,
    OnDead,
    Order,
    Subscription,
    SubscriptionSettings,
    TopicView,
)
from storage.subscriptions.outcomes import (
    Done,
    Kept,
    Leased,
    Outcome,
    Refusal,
    Retried,
    Settled,
    Sought,
)

@pytest.fixture
def backend() -> str:
    return "postgres"


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
