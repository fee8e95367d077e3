"""Optimistic append: a batch decided before its topics are locked, stored if they are unchanged.

Between the lock and COMMIT the database would wait for this process again and again, and so would
everybody who wants the same topics. So a batch is decided first, on an expected state of its
topics: what a probe showed, and what the batch before, if it is still under way, will leave
behind. Then a single statement locks the topics, stores and commits if they are as expected, and
changes nothing if they are not: then the batch has to be appended by
`storage.postgres.locked_append`, which locks first. (Optimistic concurrency control: Kung and
Robinson, "On optimistic methods for concurrency control", 1981; what is validated is a topic's
version.)

Why that is exact: the row of a topic names the append that wrote it last. Say the probe saw the
topic T as the append L left it. If the row, once locked, still names L, then nothing was stored
since, and what the probe showed is so. If it names P, an append of this store that was decided on
T as L left it, then P is committed, nothing was stored behind it, and the topic holds what the
probe showed and what P added. Whatever else the row names, the decision does not count.
"""

import time
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from operator import attrgetter
from typing import NamedTuple

from asyncpg.pool import PoolConnectionProxy

from storage.deduplication import BatchDeduplicator, Decision, Head
from storage.model import Appended, Event
from storage.postgres.array_arguments import join_integers, join_texts
from storage.postgres.commit import committing
from storage.postgres.errors import SessionShared
from storage.postgres.probe import PROBE, add_probed, add_stored, decide, probe_arguments
from storage.postgres.session import MARKER, own
from storage.postgres.turn import PendingAppend, Turn

_topic, _offset = attrgetter("topic"), attrgetter("offset")

_NOT_OWN_SESSION = -1
"""The answer in place of the seconds, which are not below 0."""

# One statement, so that the keys and the rows of their topics are of one snapshot.
PROBE_WITH_TOPICS = f"""{PROBE}
UNION ALL
SELECT topic, NULL, unique_processed, last_append::text, NULL
FROM topics WHERE topic = ANY (string_to_array($4, chr(31)))"""
_EVENT_ID = 1

# Arrays come as text, because the driver spends long on every element of one; but for times, which
# a text would not give back to the microsecond in every year. Nothing is stored in a session that
# is not the connection's own: what makes a commit durable is set in that one alone.
STORE_IF_UNCHANGED = f"""
SELECT CASE WHEN current_setting('{MARKER}', true) IS DISTINCT FROM $15 THEN {_NOT_OWN_SESSION}
ELSE append_if_unchanged_v5(
    string_to_array($1, chr(31)), string_to_array($2, chr(31))::uuid[], $3::text::bigint[],
    $4::text::uuid, $5::text::bigint[], $6::text::bigint[], $7::text::bigint[], $8::text::bigint[],
    $9::text::integer[], $10::text::bigint[], $11, $12, $13, $14) END"""


class NotStored(Enum):
    """Why an optimistic append stored nothing, although nothing failed."""

    TOPIC_UNKNOWN = auto()
    """A topic is new, or was last written by a version that did not name its appends."""
    TOPIC_CHANGED = auto()
    """Others stored in a topic after the batch was decided."""


class ExpectedTopic(NamedTuple):
    """What a decision expects of a topic: the id of the append that wrote its row, and its head."""

    append_id: str
    head: int


async def append(
    connection: PoolConnectionProxy, batch: Sequence[Event], turn: Turn
) -> Appended | NotStored:
    """Decide a batch, and store it if its topics are as expected once they are locked.

    Args:
        connection: not in a transaction, neither before nor after, or it is closed.
        batch: at least one event.
        turn: is passed on as soon as the batch is decided.

    Returns:
        The verdicts and the time of the commit; or why nothing was stored.

    Raises:
        BatchRefused: a text of the batch can't be passed on; nothing was stored.
        OutcomeUnknown: stored as a whole, or not at all; nobody knows.
        SessionShared: the session is not that of the connection alone; nothing was stored.
        asyncpg.PostgresError: nothing was stored.
    """
    deduplicator = BatchDeduplicator(batch)
    expected = await _expect(connection, deduplicator, turn.previous)
    if expected is None:
        return NotStored.TOPIC_UNKNOWN
    # The time is given to the rows where they are stored.
    heads = {topic: Head(each.head, 0) for topic, each in expected.items()}
    decision = await decide(deduplicator, heads)
    previous_ids = {topic: each.append_id for topic, each in expected.items()}
    pending = PendingAppend.of(decision, heads, previous_ids)
    arguments = _arguments(decision, expected, pending.append_id)
    turn.pass_on(pending)
    commit_s = await _store(connection, arguments)
    if commit_s is None:
        return NotStored.TOPIC_CHANGED
    return Appended(decision.verdicts, commit_s)


async def _expect(
    connection: PoolConnectionProxy, deduplicator: BatchDeduplicator, previous: PendingAppend
) -> dict[str, ExpectedTopic] | None:
    """Add what is stored, or will be, to the deduplicator; None if a topic is unknown."""
    probed = await connection.fetch(
        PROBE_WITH_TOPICS, *probe_arguments(deduplicator), join_texts(deduplicator.topics)
    )
    keys = [row for row in probed if row[_EVENT_ID] is not None]
    await add_probed(connection, deduplicator, keys)
    rows = {
        topic: ExpectedTopic(append_id, head)
        for topic, event_id, head, append_id, _ in probed
        if event_id is None and append_id is not None
    }
    if len(rows) < len(deduplicator.topics):
        return None
    expected = {topic: rows[topic] for topic in deduplicator.topics}
    awaited = {
        topic
        for topic, each in expected.items()
        if previous.previous_ids.get(topic) == each.append_id
    }
    for topic in awaited:
        expected[topic] = ExpectedTopic(previous.append_id, previous.heads[topic])
    added = {(row.topic, row.event_id): row for row in previous.rows if row.topic in awaited}
    for key in added.keys() & deduplicator.keys:
        row = added[key]
        await add_stored(deduplicator, key, row.offset, row.source, row.payload)
    return expected


async def _store(connection: PoolConnectionProxy, arguments: Sequence[object]) -> float | None:
    """Store and commit; the seconds that COMMIT took, None if a topic has changed."""
    started = time.perf_counter()
    with committing(connection, "the statement that stores and commits"):
        inside_s: float | None = await connection.fetchval(
            STORE_IF_UNCHANGED, *arguments, own(connection).marker
        )
    if inside_s is None:
        return None
    if inside_s == _NOT_OWN_SESSION:
        raise SessionShared
    return max(0.0, time.perf_counter() - started - inside_s)


def _arguments(
    decision: Decision, expected: Mapping[str, ExpectedTopic], append_id: str
) -> Sequence[object]:
    counts = [decision.counts[topic] for topic in expected]
    numbers = {topic: number for number, topic in enumerate(expected, 1)}
    # By topic, for so the server finds the place of most rows beside that of the one before.
    rows = sorted(decision.rows, key=_topic)
    return (
        join_texts(list(expected)),
        join_texts([each.append_id for each in expected.values()]),
        join_integers(each.head for each in expected.values()),
        append_id,
        join_integers(each.received for each in counts),
        join_integers(each.unique_processed for each in counts),
        join_integers(each.duplicate_dropped for each in counts),
        join_integers(each.conflicts for each in counts),
        join_integers(map(numbers.__getitem__, map(_topic, rows))),
        join_integers(map(_offset, rows)),
        join_texts([row.event_id for row in rows]),
        [row.timestamp_us for row in rows],
        join_texts([row.source for row in rows]),
        join_texts([row.payload for row in rows]),
    )
