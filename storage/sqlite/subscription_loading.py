"""Loading of what a transaction of commands needs: one statement, unless it needs all states.

Every part is driven from what is wanted, by keys; that a part is wanted of none costs next to
nothing.
"""

import sqlite3
import time
from collections.abc import Sequence

import msgspec

from storage.sqlite.subscription_rows import (
    SUBSCRIPTION_ROW,
    TOPIC_ROW,
    SubscriptionRow,
    TopicRow,
    subscription_of,
)
from storage.subscriptions.commands import Range
from storage.subscriptions.model import SettleRecord
from storage.subscriptions.workspace import Loaded, Needs

# Of a lease, which may have thousands of settles, those with the digest and the one that ended it.
LOAD = f"""
SELECT (
    SELECT json_group_array({SUBSCRIPTION_ROW})
    FROM json_each(?1) AS wanted CROSS JOIN subscriptions AS s ON s.name = wanted.key
), (
    SELECT json_group_array(json_array(s.id, {TOPIC_ROW.format(topic="w.value")}))
    FROM json_each(?1) AS wanted CROSS JOIN subscriptions AS s ON s.name = wanted.key
    CROSS JOIN json_each(wanted.value) AS w
    LEFT JOIN topics AS t ON t.topic = w.value
    LEFT JOIN subscription_topics AS k ON k.subscription = s.id AND k.topic = w.value
), (
    SELECT json_group_array(json_array(d.lease, d.digest, d.consumer, d.at, d.ended,
        d.acknowledged, d.retried, d.dead, d.released))
    FROM json_each(?2) AS w CROSS JOIN subscriptions AS s ON s.name = w.value ->> '$[0]'
    CROSS JOIN json_each('[0, 1]') AS ended
    CROSS JOIN subscription_settles AS d ON d.subscription = s.id
        AND d.lease = w.value ->> '$[1]' AND d.ended = ended.value
        AND d.digest BETWEEN CASE WHEN ended.value THEN '' ELSE w.value ->> '$[2]' END
                         AND CASE WHEN ended.value THEN 'g' ELSE w.value ->> '$[2]' END
), (
    SELECT json_group_array(json_array(s.id, (
        SELECT coalesce(sum(k.unsettled), 0) FROM subscription_topics AS k
        WHERE k.subscription = s.id AND k.unsettled > 0), (
        SELECT coalesce(sum((r.value ->> '$[1]') - (r.value ->> '$[0]') + 1), 0)
        FROM subscription_topics AS k CROSS JOIN json_each(k.ranges) AS r
        WHERE k.subscription = s.id AND k.unsettled > 0
          AND r.value ->> '$[4]' <> '' AND r.value ->> '$[3]' > ?4)))
    FROM json_each(?3) AS w CROSS JOIN subscriptions AS s ON s.name = w.value
)"""

EVERY_STATE = f"""
SELECT json_group_array(json_array(s.id, {TOPIC_ROW.format(topic="k.topic")}))
FROM subscriptions AS s CROSS JOIN subscription_topics AS k ON k.subscription = s.id
LEFT JOIN topics AS t ON t.topic = k.topic
WHERE s.name = ?"""

_DEAD = """
FROM json_each(?2) AS r CROSS JOIN subscription_failures AS f
ON f.subscription = ?1 AND f.topic = r.value ->> '$[0]'
AND f."offset" BETWEEN r.value ->> '$[1]' AND r.value ->> '$[2]' AND f.dead_at IS NOT NULL"""

COUNT_DEAD = f"SELECT count(*) {_DEAD}"

DEAD = f"""
SELECT json_group_array(json_array(topic, "offset"))
FROM (SELECT f.topic, f."offset" {_DEAD} ORDER BY r.key, f."offset" LIMIT ?3)"""

COUNT_ALL_DEAD = """
SELECT count(*) FROM subscription_failures WHERE subscription = ?1 AND dead_at IS NOT NULL"""

ALL_DEAD = """
SELECT json_group_array(json_array(topic, "offset"))
FROM (SELECT topic, "offset" FROM subscription_failures
      WHERE subscription = ?1 AND dead_at IS NOT NULL ORDER BY topic, "offset" LIMIT ?2)"""

_encode = msgspec.json.encode
_decode_subscriptions = msgspec.json.Decoder(list[SubscriptionRow]).decode
_decode_topics = msgspec.json.Decoder(list[tuple[str, TopicRow]]).decode
_decode_settles = msgspec.json.Decoder(
    list[tuple[str, str, str, int, int, int, int, int, int]]
).decode
_decode_others = msgspec.json.Decoder(list[tuple[str, int, int]]).decode
_decode_pairs = msgspec.json.Decoder(list[tuple[str, int]]).decode


def load(connection: sqlite3.Connection, wanted: Needs) -> Loaded:
    """Load what commands need, in a transaction that has the write lock.

    Args:
        connection: in such a transaction.
        wanted: what they need.
    """
    # Read after the lock is held, so that a later transaction hardly ever has an earlier time.
    loaded = Loaded(now_us=time.time_ns() // 1000)
    topics = {name: sorted(wanted.topics.get(name, ())) for name in wanted.names}
    records = {(lease, digest.hex()) for _, lease, digest in wanted.records}
    settles = [(name, lease, digest.hex()) for name, lease, digest in wanted.records]
    arguments = [_encode(each).decode() for each in (topics, settles, sorted(wanted.others))]
    row = connection.execute(LOAD, (*arguments, loaded.now_us)).fetchone()
    for subscription in map(subscription_of, _decode_subscriptions(row[0])):
        loaded.subscriptions[subscription.name] = subscription
    _add_topics(loaded, row[1])
    _add_settles(loaded, row[2], records)
    for id_, unsettled, leased in _decode_others(row[3]):
        loaded.others[id_] = leased, unsettled
        loaded.leave_out(id_)
    for name in wanted.every_state:
        (text,) = connection.execute(EVERY_STATE, (name,)).fetchone()
        _add_topics(loaded, text)
    if wanted.dead is not None:
        for subscription in loaded.subscriptions.values():
            _load_dead(connection, loaded, subscription.id, *wanted.dead)
    return loaded


def _add_topics(loaded: Loaded, text: str) -> None:
    for id_, row in _decode_topics(text):
        if row.head:
            loaded.heads[row.topic] = row.head
        if row.oldest_us is not None:
            loaded.oldest_us[id_, row.topic] = row.oldest_us
        if row.kept:
            loaded.states[id_, row.topic] = row.state()


def _add_settles(loaded: Loaded, text: str, wanted: set[tuple[str, str]]) -> None:
    for lease, digest, consumer, at_us, ended, *numbers in _decode_settles(text):
        if ended:
            loaded.ended.add(lease)
        if (lease, digest) not in wanted:
            continue
        acknowledged, retried, dead, released = numbers
        record = SettleRecord(
            lease=lease,
            digest=bytes.fromhex(digest),
            consumer=consumer,
            at_us=at_us,
            ended=bool(ended),
            acknowledged=acknowledged,
            retried=retried,
            dead=dead,
            released=released,
        )
        loaded.records[lease, record.digest] = record


def _load_dead(
    connection: sqlite3.Connection,
    loaded: Loaded,
    subscription_id: str,
    ranges: Sequence[Range] | None,
    limit: int,
) -> None:
    if ranges is None:
        of: tuple[str, ...] = (subscription_id,)
        count, select = COUNT_ALL_DEAD, ALL_DEAD
    else:
        of = subscription_id, _encode(_disjoint(ranges)).decode()
        count, select = COUNT_DEAD, DEAD
    (loaded.dead_total,) = connection.execute(count, of).fetchone()
    (text,) = connection.execute(select, (*of, limit)).fetchone()
    loaded.dead = _decode_pairs(text)


def _disjoint(ranges: Sequence[Range]) -> list[Range]:
    """Return the same offsets as ranges that have none of them twice, in order."""
    found: list[Range] = []
    for topic, first, last in sorted(ranges):
        if found and found[-1][0] == topic and first <= found[-1][2]:
            found[-1] = topic, found[-1][1], max(last, found[-1][2])
        else:
            found.append((topic, first, last))
    return found
