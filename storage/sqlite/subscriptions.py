"""Commands of subscriptions in a write transaction: loads, has them decided, and writes.

As for batches of events (see `storage.sqlite.transaction`) it takes a few statements, whatever the
number of commands. The decisions are those of every backend.
"""

import sqlite3
import time
from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from storage.sqlite.subscription_loading import load
from storage.subscriptions.commands import Command
from storage.subscriptions.decisions import Decisions
from storage.subscriptions.model import SettleRecord, Subscription, SubscriptionSettings, TopicState
from storage.subscriptions.outcomes import Outcome
from storage.subscriptions.workspace import Changes, Failure, Loaded, needs

WRITE_SUBSCRIPTIONS = """
INSERT INTO subscriptions (name, id, settings, reason, dead_in_row, created_at)
SELECT value ->> '$[0]', value ->> '$[1]', value ->> '$[2]', value ->> '$[3]', value ->> '$[4]', ?2
FROM json_each(?1) WHERE true
ON CONFLICT (name) DO UPDATE SET
    settings = excluded.settings, reason = excluded.reason, dead_in_row = excluded.dead_in_row"""

# With values of its own for each row: what is not settled may be long, and SQLite would read all
# of a JSON text again for each value that it takes from it.
WRITE_STATES = """
INSERT INTO subscription_topics
    (subscription, topic, start_offset, next_offset, acknowledged, dead, redelivered, unsettled,
     place, due_at, holds_new, ranges)
VALUES {rows}
ON CONFLICT (subscription, topic) DO UPDATE SET
    start_offset = excluded.start_offset, next_offset = excluded.next_offset,
    acknowledged = excluded.acknowledged, dead = excluded.dead,
    redelivered = excluded.redelivered, unsettled = excluded.unsettled, place = excluded.place,
    due_at = excluded.due_at, holds_new = excluded.holds_new, ranges = excluded.ranges"""

_STATE_ROW = f"({', '.join('?' * 12)})"
_MAX_STATE_ROWS = 64

DELETE_STATES = """
DELETE FROM subscription_topics WHERE (subscription, topic) IN (
    SELECT value ->> '$[0]', value ->> '$[1]' FROM json_each(?))"""

FORGET_FAILURES = """
DELETE FROM subscription_failures WHERE rowid IN (
    SELECT f.rowid FROM json_each(?) AS r CROSS JOIN subscription_failures AS f
    ON f.subscription = r.value ->> '$[0]' AND f.topic = r.value ->> '$[1]'
    AND f."offset" BETWEEN r.value ->> '$[2]' AND r.value ->> '$[3]')"""

WRITE_FAILURES = """
INSERT INTO subscription_failures
    (subscription, topic, "offset", deliveries, first_error, last_error, first_failed_at, dead_at)
SELECT value ->> '$[0]', value ->> '$[1]', value ->> '$[2]', value ->> '$[3]', value ->> '$[4]',
       value ->> '$[5]', ?2, CASE WHEN value ->> '$[6]' THEN ?2 END
FROM json_each(?1) WHERE true
ON CONFLICT (subscription, topic, "offset") DO UPDATE SET
    deliveries = excluded.deliveries,
    first_error = coalesce(first_error, excluded.first_error),
    last_error = coalesce(excluded.last_error, last_error),
    dead_at = CASE WHEN excluded.dead_at IS NOT NULL THEN coalesce(dead_at, excluded.dead_at) END"""

WRITE_SETTLES = """
INSERT INTO subscription_settles
    (subscription, lease, ended, digest, consumer, at, acknowledged, retried, dead, released)
SELECT value ->> '$[0]', value ->> '$[1]', value ->> '$[2]', value ->> '$[3]', value ->> '$[4]',
       value ->> '$[5]', value ->> '$[6]', value ->> '$[7]', value ->> '$[8]', value ->> '$[9]'
FROM json_each(?)"""

# Read in the order of its key: it holds little, since what is in the way is forgotten. WITH is not
# in front, or Python would not count the rows.
FORGET_SETTLES = """
DELETE FROM subscription_settles WHERE (subscription, lease, ended, digest) IN (
    WITH surpassed AS MATERIALIZED (
        SELECT subscription, lease FROM (
            SELECT subscription, lease, at,
                   max(at) OVER (PARTITION BY subscription, consumer) AS last
            FROM subscription_settles WHERE ended = 1)
        WHERE at < last
    )
    SELECT subscription, lease, ended, digest FROM subscription_settles
    WHERE at <= ?1 OR (subscription, lease) IN surpassed
    LIMIT ?2)"""

_KEPT_US = 86_400_000_000
"""How long a settle that was done is kept, unless it is forgotten earlier."""

_TABLES = ("subscriptions", "subscription_topics", "subscription_failures", "subscription_settles")


def apply(connection: sqlite3.Connection, commands: Sequence[Command]) -> list[Outcome]:
    """Do commands within a transaction that has the write lock; see `SubscriptionStore.apply`.

    Returns:
        One outcome per command; they hold once the transaction is committed.

    Raises:
        sqlite3.Error: what is written so far is to be rolled back.
    """
    loaded = load(connection, needs(commands))
    decisions = Decisions(loaded)
    outcomes = [decisions.decide(command) for command in commands]
    if decisions.changes:
        _write(connection, decisions.changes, loaded)
    return outcomes


def forget_settles(connection: sqlite3.Connection, limit: int) -> bool:
    """Forget settles within a transaction; see `SubscriptionStore.forget_settles`."""
    day_ago_us = time.time_ns() // 1000 - _KEPT_US
    return connection.execute(FORGET_SETTLES, (day_ago_us, limit)).rowcount >= limit


def _write(connection: sqlite3.Connection, changes: Changes, loaded: Loaded) -> None:
    def run(sql: str, rows: Iterable[object], *more: int) -> None:
        if encoded := list(rows):
            connection.execute(sql, (msgspec.json.encode(encoded).decode(), *more))

    now_us = loaded.now_us
    for table in _TABLES if changes.deleted else ():
        column = "id" if table == "subscriptions" else "subscription"
        run(
            f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))",
            changes.deleted,
        )
    run(WRITE_SUBSCRIPTIONS, map(_subscription_row, changes.subscriptions.values()), now_us)
    settings = _settings(changes, loaded)
    run(DELETE_STATES, (key for key, state in changes.states.items() if state is None))
    _write_states(connection, [
        _state_row(key, state, settings[key[0]]) for key, state in changes.states.items() if state
    ])  # fmt: skip
    run(FORGET_FAILURES, changes.forgotten)
    run(WRITE_FAILURES, map(_failure_row, changes.failures.items()), now_us)
    run(WRITE_SETTLES, map(_settle_row, changes.records))


def _write_states(connection: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> None:
    start = 0
    while start < len(rows):
        # A power of two, so that few statements stay prepared.
        size = min(1 << ((len(rows) - start).bit_length() - 1), _MAX_STATE_ROWS)
        values = chain.from_iterable(rows[start : start + size])
        sql = WRITE_STATES.format(rows=", ".join([_STATE_ROW] * size))
        connection.execute(sql, tuple(values))
        start += size


def _settings(changes: Changes, loaded: Loaded) -> dict[str, SubscriptionSettings]:
    """Return the settings by id, as they are now."""
    now = loaded.subscriptions | changes.subscriptions
    return {each.id: each.settings for each in now.values()}


def _subscription_row(each: Subscription) -> Sequence[object]:
    settings = msgspec.json.encode(each.settings).decode()
    return each.name, each.id, settings, each.reason, each.dead_in_row


def _state_row(
    key: tuple[str, str], state: TopicState, settings: SubscriptionSettings
) -> Sequence[object]:
    return (
        *key, state.start, state.next_offset, state.acknowledged, state.dead, state.redelivered,
        state.unsettled, state.place, state.due_us(settings), int(state.holds_new(settings)),
        msgspec.json.encode(state.ranges).decode(),
    )  # fmt: skip


def _failure_row(item: tuple[tuple[str, str, int], Failure]) -> Sequence[object]:
    key, failure = item
    return (
        *key, failure.deliveries, failure.first_error, failure.last_error, int(failure.dead),
    )  # fmt: skip


def _settle_row(item: tuple[str, SettleRecord]) -> Sequence[object]:
    subscription, each = item
    return (
        subscription, each.lease, int(each.ended), each.digest.hex(), each.consumer, each.at_us,
        each.acknowledged, each.retried, each.dead, each.released,
    )  # fmt: skip
