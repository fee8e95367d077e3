"""Loading of what a transaction of subscription commands is decided on, in one statement.

One statement is one snapshot. It also says which revision of each row it saw, so that what was
decided on it can be written only if none of them has changed since.

Heads are read from the events, not from the rows of `topics`: those are updated in place by whoever
publishes, and would have to be found among their dead versions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.postgres.array_arguments import join_texts
from storage.postgres.errors import SessionShared
from storage.postgres.session import MARKER, own
from storage.postgres.subscription_rows import (
    NEWEST,
    OLDEST,
    json_text,
    state_of,
    subscription_of,
)
from storage.subscriptions.commands import Range
from storage.subscriptions.model import SettleRecord
from storage.subscriptions.workspace import Loaded, Needs

_TIME, _SUBSCRIPTION, _TOPIC, _OTHERS, _SETTLE = range(5)
"""The kinds of rows."""

# The columns behind it: three texts, a JSON text, a time, bytes, a truth and eight numbers.
_AT, _TRUTH, _FIRST_NUMBER = 4, 6, 7
_NO_STATE = "NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint"

_SUBSCRIPTIONS = f"""
SELECT {_TIME} AS kind, NULL::text, NULL::text, NULL::text, NULL::json, clock_timestamp(),
       NULL::bytea, current_setting('{MARKER}', true) IS NOT DISTINCT FROM $1,
       NULL::bigint, NULL::bigint, {_NO_STATE}, NULL::bigint
UNION ALL
SELECT {_SUBSCRIPTION}, s.name, s.id, s.reason, s.settings, NULL, NULL, NULL,
       s.revision, s.dead_in_row, {_NO_STATE}, NULL
FROM subscriptions AS s WHERE s.name = ANY (string_to_array($2, chr(31)))"""

_HEAD = """
(SELECT "offset" FROM events AS last WHERE last.topic = {topic}
 ORDER BY last.topic DESC, last."offset" DESC LIMIT 1)"""

_TOPIC_COLUMNS = f"""
SELECT {_TOPIC}, s.id, {{topic}}, NULL, t.ranges, e.ts_ingest, NULL, NULL,
       t.revision, {_HEAD.format(topic="{topic}")}, t.start_offset, t.next_offset, t.acknowledged,
       t.dead, t.redelivered, NULL"""

_TOPICS = f"""
UNION ALL {_TOPIC_COLUMNS.format(topic="w.topic")}
FROM (SELECT unnest(string_to_array($3, chr(31))) AS name,
             unnest(string_to_array($4, chr(31))) AS topic) AS w
LEFT JOIN subscriptions AS s ON s.name = w.name
LEFT JOIN LATERAL {NEWEST.format(subscription="s.id", topic="w.topic")} ON true
LEFT JOIN LATERAL {OLDEST.format(topic="w.topic")} ON true"""

_EVERY_STATE = f"""
UNION ALL {_TOPIC_COLUMNS.format(topic="t.topic")}
FROM subscriptions AS s JOIN subscription_topics AS t ON t.subscription = s.id
LEFT JOIN LATERAL {OLDEST.format(topic="t.topic")} ON true
WHERE s.name = ANY (string_to_array(${{number}}, chr(31)))"""

# Every version is visited here, pruned or not: for very many topics that costs a fraction of
# walking from each to the next, as is done where a subscription has few.
_OTHERS_OF = f"""
UNION ALL
SELECT {_OTHERS}, s.name, s.id, NULL, NULL, NULL, NULL, NULL, sums.unsettled, sums.leased,
       {_NO_STATE}, NULL
FROM subscriptions AS s CROSS JOIN LATERAL (
    SELECT sum(t.unsettled)::bigint AS unsettled, sum((
        SELECT sum((r ->> 1)::bigint - (r ->> 0)::bigint + 1)
        FROM json_array_elements(t.ranges) AS r
        WHERE r ->> 4 <> '' AND (r ->> 3)::bigint > extract(epoch FROM clock_timestamp()) * 1000000
    ))::bigint AS leased
    FROM subscription_topics AS t WHERE t.subscription = s.id AND t.unsettled > 0) AS sums
WHERE s.name = ANY (string_to_array(${{number}}, chr(31)))"""

# Whether a lease is over matters only where the settle that is sent again was found: its other
# ones, which may be many, are not looked through for each.
_SETTLES = f"""
UNION ALL
SELECT {_SETTLE}, d.lease, d.consumer, NULL, NULL, d.at, d.digest, d.ended,
       d.acknowledged, d.retried, d.dead, d.released,
       (SELECT bool_or(e.ended)::int FROM subscription_settles AS e
        WHERE e.subscription = d.subscription AND e.lease = d.lease),
       NULL, NULL, NULL
FROM (SELECT name, lease, decode(digest, 'hex') AS digest
      FROM json_to_recordset(${{number}}) AS r (name text, lease text, digest text)) AS w
JOIN subscriptions AS s ON s.name = w.name
CROSS JOIN LATERAL (
    SELECT * FROM subscription_settles AS known
    WHERE known.subscription = s.id AND known.lease = w.lease AND known.digest = w.digest
    LIMIT 1) AS d"""

# By topic and offset; the whole number in every row, and one row at the least.
_DEAD = """
WITH asked AS MATERIALIZED ({asked})
SELECT n.number, a.topic, a."offset" FROM (SELECT count(*) AS number FROM asked) AS n
LEFT JOIN (SELECT * FROM asked ORDER BY topic, "offset" LIMIT $2) AS a ON true
ORDER BY a.topic, a."offset" """
_ALL_DEAD = _DEAD.format(
    asked="""
    SELECT f.topic, f."offset" FROM subscriptions AS s JOIN subscription_failures AS f
    ON f.subscription = s.id AND f.dead_at IS NOT NULL
    WHERE s.name = $1"""
)
_SOME_DEAD = _DEAD.format(
    asked="""
    SELECT DISTINCT f.topic, f."offset" FROM subscriptions AS s
    CROSS JOIN unnest($3::text[], $4::bigint[], $5::bigint[]) AS r (topic, first, last)
    CROSS JOIN LATERAL (
        SELECT * FROM subscription_failures AS letter
        WHERE letter.subscription = s.id AND letter.topic = r.topic
          AND letter."offset" BETWEEN r.first AND r.last AND letter.dead_at IS NOT NULL
        OFFSET 0) AS f
    WHERE s.name = $1"""
)


@dataclass(slots=True)
class Read:
    """What a statement has read, and which revisions of rows it saw.

    Attributes:
        loaded: what commands are decided on.
        subscriptions: revisions by name, of those that exist.
        topics: revisions by id of a subscription and topic; None: there was no row.
    """

    loaded: Loaded
    subscriptions: dict[str, int] = field(default_factory=dict)
    topics: dict[tuple[str, str], int | None] = field(default_factory=dict)


async def load(connection: PoolConnectionProxy, wanted: Needs) -> Read:
    """Load what a transaction needs.

    Args:
        connection: one of a store. Dead letters are read by a statement of their own, so they need
            a transaction that has locked the subscriptions.
        wanted: what is needed.

    Raises:
        SessionShared: the session is not that of the connection alone.
        asyncpg.PostgresError: the server refused the statement.
    """
    sql, arguments = statement(wanted)
    rows = await connection.fetch(sql, own(connection).marker, *arguments)
    read = _decoded(rows, wanted)
    if wanted.dead is not None:
        await _load_dead(connection, read.loaded, wanted.names[0], *wanted.dead)
    return read


def statement(wanted: Needs) -> tuple[str, list[object]]:
    """Make the statement, and its arguments behind the session's marker."""
    pairs = [(name, topic) for name in wanted.names for topic in wanted.topics.get(name, ())]
    arguments: list[object] = [
        join_texts(wanted.names),
        join_texts([name for name, _ in pairs]),
        join_texts([topic for _, topic in pairs]),
    ]
    parts = [_SUBSCRIPTIONS, _TOPICS]
    for names, sql in ((wanted.every_state, _EVERY_STATE), (wanted.others, _OTHERS_OF)):
        if names:
            arguments.append(join_texts(sorted(names)))
            parts.append(sql.format(number=len(arguments) + 1))
    if wanted.records:
        # A lease's id is what a client sent.
        settles = [
            {"name": name, "lease": lease, "digest": digest.hex()}
            for name, lease, digest in wanted.records
        ]
        arguments.append(json_text(settles))
        parts.append(_SETTLES.format(number=len(arguments) + 1))
    return "".join(parts), arguments


def _decoded(rows: Sequence[asyncpg.Record], wanted: Needs) -> Read:
    read = Read(Loaded(now_us=0))
    loaded = read.loaded
    for kind, *row in rows:
        if kind == _TOPIC:
            _add_topic(read, row)
        elif kind == _TIME:
            if not row[_TRUTH]:
                raise SessionShared
            loaded.now_us = row[_AT]
        elif kind == _SUBSCRIPTION:
            name, id_, reason, settings, _, _, _, revision, dead_in_row, *_ = row
            subscription = subscription_of((name, id_, settings, reason, dead_in_row))
            loaded.subscriptions[name] = subscription
            read.subscriptions[name] = revision
        elif kind == _OTHERS:
            loaded.others[row[1]] = row[_FIRST_NUMBER + 1] or 0, row[_FIRST_NUMBER] or 0
        else:
            _add_settle(loaded, row)
    for name in wanted.others & loaded.subscriptions.keys():
        id_ = loaded.subscriptions[name].id
        loaded.leave_out(id_)
    return read


def _add_topic(read: Read, row: Sequence[Any]) -> None:
    id_, topic, _, ranges, oldest_us, _, _, revision, head = row[:9]
    if head is not None:
        read.loaded.heads[topic] = head
    if id_ is None:
        return
    key = id_, topic
    if oldest_us is not None:
        read.loaded.oldest_us[key] = oldest_us
    read.topics[key] = revision
    if revision is not None:
        read.loaded.states[key] = state_of([*row[9:14], ranges])


def _add_settle(loaded: Loaded, row: Sequence[Any]) -> None:
    lease, consumer, _, _, at_us, digest, ended, *counts, is_over, _, _, _ = row
    acknowledged, retried, dead, released = counts
    if is_over:
        loaded.ended.add(lease)
    loaded.records[lease, digest] = SettleRecord(
        lease=lease,
        digest=digest,
        consumer=consumer,
        at_us=at_us,
        ended=ended,
        acknowledged=acknowledged,
        retried=retried,
        dead=dead,
        released=released,
    )


async def _load_dead(
    connection: PoolConnectionProxy,
    loaded: Loaded,
    name: str,
    ranges: Sequence[Range] | None,
    limit: int,
) -> None:
    if ranges is None:
        rows = await connection.fetch(_ALL_DEAD, name, limit)
    else:
        columns = [[each[place] for each in ranges] for place in range(3)]
        rows = await connection.fetch(_SOME_DEAD, name, limit, *columns)
    loaded.dead_total = rows[0][0]
    loaded.dead = [(topic, offset) for _, topic, offset in rows if topic is not None]
