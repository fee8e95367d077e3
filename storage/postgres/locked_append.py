"""Locked append: the transaction of a batch that locks its topics before it looks for its keys.

READ COMMITTED is enough, because every verdict is decided under a row lock: a batch first
locks its topics, in sorted order so that no two batches wait for each other in a circle, and
only then, in a new statement with a new snapshot, looks for its keys. A single statement
would look with the snapshot from before it got the lock. (The same hazard, commit order
against sequence order, is taught by `_lock_table` in pyeventsourcing's `postgres.py`.)
"""

import time
from collections.abc import Mapping, Sequence

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.deduplication import BatchDeduplicator, Decision, Head
from storage.errors import BatchRefused
from storage.model import Appended, Counts, Event, StoredEvent
from storage.postgres.array_arguments import join_texts
from storage.postgres.commit import commit, roll_back
from storage.postgres.errors import terminate
from storage.postgres.probe import PROBE, add_probed, decide, probe_arguments
from storage.postgres.session import begin
from storage.postgres.turn import PendingAppend, Turn

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"

# Creates the topics that are new and locks all of them, in the order of the sorted input.
# An UPDATE over several topics would lock them in the order of its plan.
LOCK_TOPICS = """
INSERT INTO topics AS t (topic) SELECT topic FROM unnest($1::text[]) AS topic
ON CONFLICT (topic) DO UPDATE SET topic = t.topic
RETURNING t.topic, t.unique_processed, greatest(clock_timestamp(), t.last_ts_ingest),
          t.last_append::text"""

COUNT = """
UPDATE topics AS t SET
    received = t.received + d.received,
    unique_processed = t.unique_processed + d.unique_processed,
    duplicate_dropped = t.duplicate_dropped + d.duplicate_dropped,
    conflicts = t.conflicts + d.conflicts,
    last_ts_ingest = d.ts_ingest,
    last_append = $7::text::uuid,
    recorded_head = t.unique_processed + d.unique_processed
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
            $6::timestamptz[])
     AS d (topic, received, unique_processed, duplicate_dropped, conflicts, ts_ingest)
WHERE t.topic = d.topic
RETURNING t.last_ts_ingest, t.topic, t.unique_processed AS head, d.unique_processed AS added"""

RECORD = """
INSERT INTO appends (ts_ingest, topic, first_offset, last_offset)
SELECT last_ts_ingest, topic, head - added + 1, head FROM counted WHERE added > 0"""

_INSERT = """
INSERT INTO events (topic, "offset", event_id, timestamp, ts_ingest, source, payload)
SELECT topic, "offset", event_id, timestamp, ts_ingest, source, payload::json
FROM unnest(string_to_array($8, chr(31)), $9::bigint[], string_to_array($10, chr(31)),
            $11::timestamptz[], $12::timestamptz[], string_to_array($13, chr(31)),
            string_to_array($14, chr(31)))
     AS new (topic, "offset", event_id, timestamp, ts_ingest, source, payload)
ON CONFLICT (topic, event_id) DO NOTHING"""

# All in one round trip. The answer counts the rows of the INSERT alone. The function of the
# optimistic append does the same: tests/properties/test_append_ways.py compares what they leave.
STORE = f"WITH counted AS ({COUNT}), recorded AS ({RECORD}) {_INSERT}"


async def append(
    connection: PoolConnectionProxy,
    batch: Sequence[Event],
    turn: Turn,
    *,
    release_when_locked: bool = False,
) -> Appended:
    """Store a batch in one transaction.

    Args:
        connection: not in a transaction, neither before nor after, or it is closed.
        batch: at least one event.
        turn: is passed on as soon as the batch is decided.
        release_when_locked: whether the next batch may begin earlier, as soon as nobody else can
            store in the topics of this one. For a batch that locks as well that is enough.

    Returns:
        The verdicts and the time of the commit.

    Raises:
        BatchRefused, StorageUnavailable: nothing was stored.
        OutcomeUnknown: stored as a whole, or not at all; nobody knows.
        SessionShared: the session is not that of the connection alone; nothing was stored.
        asyncpg.PostgresError: nothing was stored.
    """
    try:
        await begin(connection, BEGIN)
        decision = await _write(connection, batch, turn, release_when_locked=release_when_locked)
    except (asyncpg.PostgresError, BatchRefused):
        await roll_back(connection)
        raise
    except BaseException:
        # No answer: one to ROLLBACK would have to be waited for as long again.
        terminate(connection)
        raise
    started = time.perf_counter()
    await commit(connection)
    return Appended(decision.verdicts, time.perf_counter() - started)


async def _write(
    connection: PoolConnectionProxy,
    batch: Sequence[Event],
    turn: Turn,
    *,
    release_when_locked: bool = False,
) -> Decision:
    deduplicator = BatchDeduplicator(batch)
    locked = await connection.fetch(LOCK_TOPICS, deduplicator.topics)
    if release_when_locked:
        turn.release()
    heads = {topic: Head(offset, ts_ingest_us) for topic, offset, ts_ingest_us, _ in locked}
    probed = await connection.fetch(PROBE, *probe_arguments(deduplicator))
    await add_probed(connection, deduplicator, probed)
    decision = await decide(deduplicator, heads)
    previous_ids = {topic: append_id for topic, _, _, append_id in locked}
    pending = PendingAppend.of(decision, heads, previous_ids)
    turn.pass_on(pending)
    await _store(connection, decision, heads, pending.append_id)
    return decision


async def _store(
    connection: PoolConnectionProxy, decision: Decision, heads: Mapping[str, Head], append_id: str
) -> None:
    rows = decision.rows
    counts = _count_columns(decision.counts, heads, append_id)
    status = await connection.execute(STORE, *counts, *_event_columns(rows))
    # Under the topics' lock nothing can have come between; a row that the constraint turned
    # away although its key was not found is an event about to be lost, never a duplicate.
    if status != f"INSERT 0 {len(rows)}":
        raise BatchRefused(
            f"Postgres answered {status!r} to {len(rows)} new events; nothing was committed"
        )


def _count_columns(
    counts: Mapping[str, Counts], heads: Mapping[str, Head], append_id: str
) -> Sequence[object]:
    return (
        list(counts),
        [c.received for c in counts.values()],
        [c.unique_processed for c in counts.values()],
        [c.duplicate_dropped for c in counts.values()],
        [c.conflicts for c in counts.values()],
        [heads[topic].ts_ingest_us for topic in counts],
        append_id,
    )


def _event_columns(rows: Sequence[StoredEvent]) -> Sequence[object]:
    return (
        join_texts([r.topic for r in rows]),
        [r.offset for r in rows],
        join_texts([r.event_id for r in rows]),
        [r.timestamp_us for r in rows],
        [r.ts_ingest_us for r in rows],
        join_texts([r.source for r in rows]),
        join_texts([r.payload for r in rows]),
    )
