"""Rows of subscriptions in SQLite as the types of storage, both ways.

Rows come out of SQLite as JSON, many in one value: for each row that Python fetches it gives up the
interpreter lock (see `storage.sqlite.transaction`).
"""

from functools import lru_cache
from typing import NamedTuple, TypeAlias

import msgspec

from storage.subscriptions.model import (
    Subscription,
    SubscriptionSettings,
    TopicState,
    Unsettled,
)

SUBSCRIPTION = "json_array(name, id, settings, reason, dead_in_row)"
"""A row of `subscriptions` as a `SubscriptionRow`."""

STATE = """json_array({k}.start_offset, {k}.next_offset, {k}.acknowledged, {k}.dead,
    {k}.redelivered, json({k}.ranges))"""
"""A row of `subscription_topics`, which has the name `k`, as a `StateRow`."""

SubscriptionRow: TypeAlias = tuple[str, str, str, str | None, int]


class StateRow(NamedTuple):
    """What is kept of a topic; null in all of its places where nothing is."""

    start: int | None
    next_offset: int | None
    acknowledged: int | None
    dead: int | None
    redelivered: int | None
    ranges: tuple[Unsettled, ...] | None
