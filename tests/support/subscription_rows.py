"""Rows of subscriptions, written past the store, and the table that `verify` prints of them."""

from collections.abc import Sequence

import msgspec

from storage.subscriptions.model import (
    Order,
    Subscription,
    SubscriptionSettings,
    TopicState,
    Unsettled,
)
from support.backends import Database
from support.events import event
from support.verifying import execute, fill

NOW_US = 1_769_860_800_000_000

BILLING = Subscription(
    name="billing",
    id="id-of-billing",
    settings=SubscriptionSettings(topics=("orders",), order=Order.NONE),
)
KEPT = TopicState(
    start=1,
    next_offset=8,
    acknowledged=2,
    dead=1,
    redelivered=3,
    ranges=(
        Unsettled(5, 6, 1, NOW_US + 5, "lease-1", 2),
        Unsettled(7, 7, 2, NOW_US + 3, failed=True),
        Unsettled(8, 8, 0, NOW_US + 4),
    ),
)
"""Of ten events: 2 and 3 are acknowledged, 4 is dead, 5 and 6 are leased, 7 failed and 8 was handed
back."""

SOUND = """\
topic   received  unique_processed  duplicate_dropped  conflicts  rows  head_offset  verdict
orders        10                10                  0          0    10           10  ok
total         10                10                  0          0    10               ok

subscription  topics  acknowledged  dead  unsettled  new  verdict
billing            1             2     1          4    2  ok

Everything agrees: 10 rows in 1 topic and 1 subscription recounted in one snapshot.
"""
"""What verify prints of this subscription with these events."""

_NO_CHECKS = """
DO $$ DECLARE name text; relation text; BEGIN
    FOR name, relation IN SELECT conname, conrelid::regclass::text FROM pg_constraint
        WHERE contype = 'c' AND conrelid::regclass::text LIKE 'subscription%'
    LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %s', relation, name); END LOOP;
END $$"""


def at(database: Database, time_us: int | None) -> str:
    """A time as a literal of SQL."""
    if time_us is None:
        return "NULL"
    if database.backend == "sqlite":
        return str(time_us)
    return f"timestamptz 'epoch' + {time_us} * interval '1 microsecond'"


def subscription_row(database: Database, subscription: Subscription) -> str:
    """Inserts a subscription."""
    columns = {
        "name": _text(subscription.name),
        "id": _text(subscription.id),
        "settings": _text(msgspec.json.encode(subscription.settings).decode()),
        "dead_in_row": str(subscription.dead_in_row),
        "created_at": at(database, NOW_US),
    }
    if database.backend == "postgres":
        columns["revision"] = "1"
    return _insert("subscriptions", columns)


def topic_row(database: Database, subscription: Subscription, topic: str, state: TopicState) -> str:
    """Inserts what a subscription keeps of a topic."""
    columns = {
        "subscription": _text(subscription.id),
        "topic": _text(topic),
        "start_offset": str(state.start),
        "next_offset": str(state.next_offset),
        "acknowledged": str(state.acknowledged),
        "dead": str(state.dead),
        "redelivered": str(state.redelivered),
        "unsettled": str(state.unsettled),
        "place": str(state.place),
        "ranges": _text(ranges_text(state.ranges)),
        "due_at": at(database, state.due_us(subscription.settings)),
        "holds_new": f"'{int(state.holds_new(subscription.settings))}'",
    }
    if database.backend == "postgres":
        columns |= {"row_version": "0", "revision": "1"}
    return _insert("subscription_topics", columns)


def failure_row(
    database: Database, subscription: Subscription, topic: str, offset: int, *, dead: bool
) -> str:
    """Inserts the failure of an event."""
    columns = {
        "subscription": _text(subscription.id),
        "topic": _text(topic),
        '"offset"': str(offset),
        "deliveries": "2",
        "first_failed_at": at(database, NOW_US),
        "dead_at": at(database, NOW_US if dead else None),
    }
    return _insert("subscription_failures", columns)


def ranges_text(ranges: Sequence[Unsettled]) -> str:
    """Ranges as a row has them."""
    return msgspec.json.encode(ranges).decode()


def fill_with_billing(database: Database) -> None:
    """Make a log of ten events and the subscription; no CHECK of its tables is in the way then."""
    fill(database, [event("orders", f"e-{n}") for n in range(10)])
    execute(database, *billing_rows(database))
    if database.backend == "postgres":
        execute(database, _NO_CHECKS)


def billing_rows(database: Database) -> list[str]:
    """Keeps the subscription with `KEPT`, and no other."""
    return [
        *(f"DELETE FROM subscription{end}" for end in ("s", "_topics", "_failures", "_settles")),
        subscription_row(database, BILLING),
        topic_row(database, BILLING, "orders", KEPT),
        failure_row(database, BILLING, "orders", 4, dead=True),
        failure_row(database, BILLING, "orders", 7, dead=False),
    ]


def _insert(table: str, columns: dict[str, str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
