"""Whatever does not agree in the tables of subscriptions is found and named; nothing else is."""

import msgspec
import pytest
from msgspec.structs import replace
from support.backends import Database
from support.subscription_rows import (
    BILLING,
    KEPT,
    NOW_US,
    SOUND,
    billing_rows,
    failure_row,
    fill_with_billing,
    ranges_text,
    subscription_row,
    topic_row,
)
from support.verifying import differences, execute, verified

from storage.postgres.snapshot import PostgresSnapshot
from storage.sqlite import subscription_snapshot
from storage.sqlite.snapshot import SqliteSnapshot
from storage.subscriptions.model import OnDead, Order, SubscriptionSettings, TopicState, Unsettled

OF_ORDERS = "subscription 'billing': topic 'orders': "
OF_GHOSTS = "subscription 'billing': topic 'ghosts': "
ITS_SETTINGS = "subscription 'billing': its settings"
OF_NOBODY = "the subscription with the id 'id-of-billing', which is not there"
SET = "UPDATE subscription_topics SET "
LEASED, FAILED, BACK = KEPT.ranges
PAUSING = replace(BILLING.settings, on_dead=OnDead.PAUSE)


@pytest.fixture
def billing(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database with a subscription that keeps something of each kind, read in tiny blocks."""
    monkeypatch.setattr(PostgresSnapshot, "block_rows", 2)
    monkeypatch.setattr(SqliteSnapshot, "block_rows", 2)
    monkeypatch.setattr(subscription_snapshot, "_BLOCK_LARGE_ROWS", 1)
    fill_with_billing(database)
    return database


def ranges(*ranges: Unsettled) -> str:
    return f"{SET}ranges = '{ranges_text(ranges)}'"


def settings(settings: SubscriptionSettings) -> str:
    return f"UPDATE subscriptions SET settings = '{msgspec.json.encode(settings).decode()}'"


def test_what_is_kept_as_it_must_be_is_a_line_in_a_table(billing: Database) -> None:
    ended = verified(billing)
    assert (ended.code, ended.out, ended.err) == (0, SOUND, "")


OF_A_ROW: dict[str, tuple[str, list[str]]] = {
    "the law": (
        f"{SET}acknowledged = 3",
        ["next_offset - start is 7, but acknowledged + dead + unsettled is 8"],
    ),
    "less than none": (
        f"{SET}acknowledged = -1, unsettled = 7, redelivered = -1",
        ["acknowledged is -1", "redelivered is -1",
         "unsettled is 7, but its ranges make it 4"],
    ),
    "above the head": (
        f"{SET}next_offset = 11, acknowledged = 5",
        ["start 1, next_offset 11 and the head 10 are not in this order"],
    ),
    "a start below the log": (
        f"{SET}start_offset = -1, acknowledged = 4",
        ["start -1, next_offset 8 and the head 10 are not in this order"],
    ),
    "a start above the place": (
        f"{SET}start_offset = 5, acknowledged = -2",
        ["acknowledged is -2",
         "the range 5 to 6 is not within 6 and 8",
         "offset 4 is a dead letter, but not within 6 and 8"],
    ),
    "unsettled and acknowledged": (
        f"{SET}acknowledged = 3, unsettled = 3",
        ["unsettled is 3, but its ranges make it 4"],
    ),
    "the place": (f"{SET}place = 5", ["place is 5, but its ranges make it 4"]),
    "holds_new": (f"{SET}holds_new = '1'", ["holds_new is 1, but its ranges make it 0"]),
    "never due": (f"{SET}due_at = NULL", [f"due_at is None, but its ranges make it {NOW_US + 3}"]),
    "dead letters": (
        f"{SET}dead = 2, acknowledged = 1",
        ["dead is 2, but 1 dead letters are there"],
    ),
    "not ranges": (
        f"{SET}ranges = '{{}}'",
        ["its ranges can't be read: Expected `array`, got `object`"],
    ),
    "not merged": (
        ranges(replace(LEASED, last=5), replace(LEASED, first=6), FAILED, BACK),
        ["the ranges 5 to 5 and 6 to 6 are one"],
    ),
    "not ascending": (
        ranges(LEASED, BACK, FAILED),
        ["the range 7 to 7 is not behind the range 8 to 8"],
    ),
    "one over the other": (
        ranges(LEASED, replace(FAILED, first=6), BACK),
        ["the range 6 to 7 is not behind the range 5 to 6",
         "unsettled is 4, but its ranges make it 5"],
    ),
    "beyond what was handed out": (
        ranges(LEASED, FAILED, replace(BACK, first=9, last=9)),
        ["the range 9 to 9 is not within 2 and 8"],
    ),
    "without an event": (
        ranges(LEASED, FAILED, BACK, replace(BACK, first=9, deliveries=1)),
        ["the range 9 to 8 is not within 2 and 8"],
    ),
    "leased and never delivered": (
        ranges(replace(LEASED, deliveries=0), FAILED, BACK),
        ["the range 5 to 6 was delivered 0 times"],
    ),
    "over a dead letter": (
        ranges(replace(LEASED, first=4, last=5), FAILED, BACK),
        ["place is 4, but its ranges make it 3",
         "offset 4 is a dead letter, and is not settled"],
    ),
    "a failure that is settled": (
        ranges(LEASED, BACK) + ", acknowledged = 3, unsettled = 3",
        [f"due_at is {NOW_US + 3}, but its ranges make it {NOW_US + 4}",
         "a failure is kept of offset 7, which is settled"],
    ),
    "a failure that its range does not know": (
        ranges(LEASED, replace(FAILED, failed=False), BACK),
        ["a failure is kept of offset 7, of which its range does not know"],
    ),
}  # fmt: skip


REST: dict[str, tuple[list[str], list[str]]] = {
    "no dead letter": (
        ["DELETE FROM subscription_failures WHERE dead_at IS NOT NULL"],
        [f"{OF_ORDERS}dead is 1, but 0 dead letters are there"],
    ),
    "nothing but failures": (
        ["DELETE FROM subscription_topics"],
        [f"{OF_ORDERS}2 failures are kept, but nothing else"],
    ),
    "a topic without events": (
        [f"{SET}topic = 'ghosts'", "UPDATE subscription_failures SET topic = 'ghosts'",
         settings(replace(BILLING.settings, topics=("ghosts",)))],
        [OF_GHOSTS + "the topic has no event",
         OF_GHOSTS + "start 1, next_offset 8 and the head 0 are not in this order"],
    ),
    "a topic that is not selected": (
        [settings(replace(BILLING.settings, topics=("shipments",)))],
        [f"{OF_ORDERS}its settings do not select the topic"],
    ),
    "settings without sense": (
        ["UPDATE subscriptions SET settings = '{}'"],
        [f"{ITS_SETTINGS} can't be read: Object missing required field `topics`"],
    ),
    "settings that break a rule": (
        [settings(PAUSING), f"{SET}due_at = NULL, holds_new = '1'"],
        [f"{ITS_SETTINGS} break a rule: {PAUSING.rule_broken()}"],
    ),
    "other settings": (
        [settings(replace(BILLING.settings, order=Order.TOPIC))],
        [f"{OF_ORDERS}due_at is {NOW_US + 3}, but its ranges make it {NOW_US + 5}",
         f"{OF_ORDERS}holds_new is 0, but its ranges make it 1"],
    ),
    "nobody's": (
        ["DELETE FROM subscriptions"],
        [f"topic 'orders' is kept of {OF_NOBODY}"],
    ),
    "nobody's failures": (
        ["DELETE FROM subscriptions", "DELETE FROM subscription_topics"],
        [f"topic 'orders': 2 failures are kept, but nothing else of {OF_NOBODY}"],
    ),
}  # fmt: skip


def test_whatever_does_not_agree_is_named(billing: Database) -> None:
    """One after the other in one database, which is made sound before each."""
    cases = {name: ([change], sentences) for name, (change, sentences) in OF_A_ROW.items()} | REST
    found = {}
    for name, (changes, _) in cases.items():
        execute(billing, *billing_rows(billing), *changes)
        found[name] = differences(billing)
    assert found == {
        name: [OF_ORDERS + each for each in sentences] if name in OF_A_ROW else sentences
        for name, (_, sentences) in cases.items()
    }


def test_settles_of_nobody_are_named(billing: Database) -> None:
    values = "'{}', 'lease-1', '{}', 'worker-1', {}, '0', 1, 0, 0, 0"
    time = str(NOW_US) if billing.backend == "sqlite" else "now()"
    execute(
        billing,
        *[
            "INSERT INTO subscription_settles (subscription, lease, digest, consumer, at, ended, "
            "acknowledged, retried, dead, released) "
            f"VALUES ({values.format(whose, digest, time)})"
            for whose, digest in ((BILLING.id, "00"), ("gone", "00"), ("gone", "01"))
        ],
    )
    assert differences(billing) == [
        "2 settles are kept of the subscription with the id 'gone', which is not there"
    ]


KEYS = {
    "sqlite": ("subscription, lease, ended, digest", "subscription, topic"),
    "postgres": ("subscription, lease, digest", "subscription, topic, row_version"),
}


def test_keys_that_are_gone_and_what_they_let_in_are_named(billing: Database) -> None:
    tables = ("subscriptions", "subscription_topics", "subscription_failures",
              "subscription_settles")  # fmt: skip
    settles, topics = KEYS[billing.backend]
    for table in tables:
        execute(
            billing,
            f"CREATE TABLE without_keys AS SELECT * FROM {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE without_keys RENAME TO {table}",
        )
    missing = [
        "the index (name) of subscriptions is missing",
        "the index (id) of subscriptions is missing",
        f"the index ({topics}) of subscription_topics is missing",
        "the index (subscription, topic, offset) of subscription_failures is missing",
        f"the index ({settles}) of subscription_settles is missing",
    ]
    assert differences(billing) == missing
    by_key = 'CREATE INDEX by_key ON subscription_failures (subscription, topic, "offset")'
    execute(billing, *(f"INSERT INTO {table} SELECT * FROM {table}" for table in tables), by_key)
    missing[3] = missing[3].replace("is missing", "does not forbid a double")
    assert differences(billing) == [
        *missing,
        "subscription 'billing': its name is there more than once",
        "subscription 'billing': its id 'id-of-billing' is there more than once",
        f"{OF_ORDERS}the failure of offset 4 is kept more than once",
        f"{OF_ORDERS}the failure of offset 7 is kept more than once",
        f"{OF_ORDERS}dead is 1, but 2 dead letters are there",
        f"{OF_ORDERS}it is kept more than once",
    ]


def test_failures_of_nobody_are_named_among_others(billing: Database) -> None:
    gone = [replace(BILLING, id=key) for key in ("a", "z")]
    execute(billing, *(failure_row(billing, of, "orders", 1, dead=True) for of in gone))
    assert differences(billing) == [
        f"topic 'orders': 1 failures are kept, but nothing else of the subscription with the id "
        f"'{key}', which is not there"
        for key in ("a", "z")
    ]


def test_each_subscription_has_its_own(billing: Database) -> None:
    """In an order of ids that is not that of the names, with failures of all of them."""
    rows = []
    for name, key in (("after", "z"), ("zebra", "a"), ("none", "b")):
        of = replace(BILLING, name=name, id=key)
        rows.append(subscription_row(billing, of))
        if name != "none":
            dead = TopicState(0, 4, 2, 2)
            rows.append(topic_row(billing, of, "orders", dead))
            rows += [failure_row(billing, of, "orders", n, dead=True) for n in (1, 4)]
    execute(billing, *rows)
    assert verified(billing).out.splitlines()[4:] == [
        "subscription  topics  acknowledged  dead  unsettled  new  verdict",
        "after              1             2     2          0    6  ok",
        "billing            1             2     1          4    2  ok",
        "none               0             0     0          0    0  ok",
        "zebra              1             2     2          0    6  ok",
        "",
        "Everything agrees: 10 rows in 1 topic and 4 subscriptions recounted in one snapshot.",
    ]
    execute(billing, f"{SET}acknowledged = 1, dead = 3 WHERE subscription = 'a'")
    ended = verified(billing)
    assert ended.differences == [
        "subscription 'zebra': topic 'orders': dead is 3, but 2 dead letters are there"
    ]
    assert ended.out.splitlines()[8] == (
        "zebra              1             1     3          0    6  1 difference"
    )
