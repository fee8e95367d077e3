"""Rows of subscriptions and their topics, from SQLite's JSON to the types of storage.

Rows come out of SQLite as JSON, many in one value: for each row that Python takes it gives up the
interpreter lock (see `storage.sqlite.transaction`).
"""

from functools import lru_cache
from typing import NamedTuple, TypeAlias

import msgspec

from storage.subscriptions.model import (
    Subscription,
    SubscriptionSettings,
    TopicState,
    TopicView,
    Unsettled,
)

SUBSCRIPTION_ROW = "json_array(s.name, s.id, s.settings, s.reason, s.dead_in_row)"
"""A row `s` of `subscriptions` as a `SubscriptionRow`."""

SubscriptionRow: TypeAlias = tuple[str, str, str, str | None, int]

# The time of the event behind the place is in the leading part of its row: no payload is read.
TOPIC_ROW = """json_array(
    {topic}, coalesce(t.unique_processed, 0),
    (SELECT e.ts_ingest FROM events AS e
     WHERE e.topic = {topic} AND e."offset" = coalesce(k.place, 0) + 1),
    k.topic IS NOT NULL, coalesce(k.start_offset, 0), coalesce(k.next_offset, 0),
    coalesce(k.acknowledged, 0), coalesce(k.dead, 0), coalesce(k.redelivered, 0),
    json(coalesce(k.ranges, '[]')))"""
"""A topic as a `TopicRow`: its row `t` of `topics` and `k` of `subscription_topics`, if any."""


class TopicRow(NamedTuple):
    """A topic of a subscription.

    Args:
        topic: its name.
        head: its head offset; 0: no event is stored.
        oldest_us: when the event behind the place was stored; None: there is none.
        kept: whether anything is kept of it; the rest is as it begins otherwise.
        start, next_offset, acknowledged, dead, redelivered, ranges: see `TopicState`.
    """

    topic: str
    head: int
    oldest_us: int | None
    kept: int
    start: int
    next_offset: int
    acknowledged: int
    dead: int
    redelivered: int
    ranges: tuple[Unsettled, ...]

    def state(self) -> TopicState:
        """Return what is kept of it."""
        return TopicState(*self[4:])

    def view(self) -> TopicView:
        """Return it as a snapshot has it."""
        return TopicView(self.topic, self.head, self.state(), self.oldest_us)


def subscription_of(row: SubscriptionRow) -> Subscription:
    """Convert a row of `subscriptions`."""
    name, id_, settings, reason, dead_in_row = row
    return Subscription(
        name=name,
        id=id_,
        settings=_settings(settings),
        reason=reason,
        dead_in_row=dead_in_row,
    )


@lru_cache(maxsize=1024)
def _settings(text: str) -> SubscriptionSettings:
    return msgspec.json.decode(text, type=SubscriptionSettings)
