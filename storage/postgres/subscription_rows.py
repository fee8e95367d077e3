"""Rows of subscriptions and of their topics: how the newest is found, and what it says."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from storage.subscriptions.model import (
    Subscription,
    SubscriptionSettings,
    TopicState,
    Unsettled,
)

CHANGES_PER_ROW = 32
"""Changes of a topic's row before the next one deletes it and writes a new one."""

SUBSCRIPTION = "s.name, s.id, s.settings, s.reason, s.dead_in_row"

STATE = "t.start_offset, t.next_offset, t.acknowledged, t.dead, t.redelivered, t.ranges"

# The index is read backward and the first live row ends it, so that of all the versions of a
# topic's rows only those of the newest are passed.
NEWEST = """
(SELECT * FROM subscription_topics AS newest
 WHERE newest.subscription = {subscription} AND newest.topic = {topic}
 ORDER BY newest.subscription DESC, newest.topic DESC, newest.row_version DESC LIMIT 1) AS t"""

# The same for all topics of a subscription, from the last name to the first: to go on to the next
# one the other way would be to begin with its oldest version.
ALL_NEWEST = """
(WITH RECURSIVE walked AS (
     (SELECT newest.subscription, newest.topic, {columns} FROM subscription_topics AS newest
      WHERE newest.subscription = {subscription}
      ORDER BY newest.subscription DESC, newest.topic DESC, newest.row_version DESC LIMIT 1)
     UNION ALL
     SELECT t.* FROM walked CROSS JOIN LATERAL (
         SELECT newest.subscription, newest.topic, {columns} FROM subscription_topics AS newest
         WHERE newest.subscription = walked.subscription AND newest.topic < walked.topic
         ORDER BY newest.subscription DESC, newest.topic DESC, newest.row_version DESC LIMIT 1
     ) AS t)
 SELECT * FROM walked) AS t"""

# The event behind the place of `t`. LIMIT, here and elsewhere, keeps the planner from making a
# join of it, for which it might take an index by a part of the key.
OLDEST = """
(SELECT ts_ingest FROM events AS oldest
 WHERE oldest.topic = {topic} AND oldest."offset" = coalesce(t.place, 0) + 1
 ORDER BY oldest.topic, oldest."offset" LIMIT 1) AS e"""

_settings = msgspec.json.Decoder(SubscriptionSettings).decode
_ranges = msgspec.json.Decoder(tuple[Unsettled, ...]).decode
_encode = msgspec.json.Encoder().encode


def subscription_of(columns: Sequence[Any]) -> Subscription:
    """Make a subscription of the columns `SUBSCRIPTION`, which others may follow."""
    name, id_, settings, reason, dead_in_row, *_ = columns
    return Subscription(
        name=name,
        id=id_,
        settings=_settings(settings),
        reason=reason,
        dead_in_row=dead_in_row,
    )


def state_of(columns: Sequence[Any]) -> TopicState:
    """Make the state of a topic of the columns `STATE`."""
    start, next_offset, acknowledged, dead, redelivered, ranges = columns
    unsettled = () if ranges == "[]" else _ranges(ranges)
    return TopicState(start, next_offset, acknowledged, dead, redelivered, unsettled)


def subscription_columns(subscription: Subscription) -> dict[str, object]:
    """Return the columns of a subscription by name, as JSON values."""
    return {
        "name": subscription.name,
        "id": subscription.id,
        "settings": json_text(subscription.settings),
        "reason": subscription.reason,
        "dead_in_row": subscription.dead_in_row,
    }


def json_text(value: object) -> str:
    """Write a value as JSON, so that a text of the server can hold it, whatever it has in it."""
    return _encode(value).decode()


def state_columns(state: TopicState, settings: SubscriptionSettings) -> dict[str, object]:
    """Return the columns of a topic's state by name, as JSON values."""
    return {
        "start_offset": state.start,
        "next_offset": state.next_offset,
        "acknowledged": state.acknowledged,
        "dead": state.dead,
        "redelivered": state.redelivered,
        "unsettled": state.unsettled,
        "place": state.place,
        "ranges": state.ranges,
        "due_us": state.due_us(settings),
        "holds_new": state.holds_new(settings),
    }


def document(rows: Sequence[Mapping[str, object]]) -> str | None:
    """Write rows as one JSON document, which the server takes apart again; None: there are none."""
    return json_text(rows) if rows else None
