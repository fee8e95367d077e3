"""The writing half of the Postgres store: the transaction of one batch.

READ COMMITTED is enough, because every verdict is decided under a row lock: a batch first
locks its topics, in sorted order so that no two batches wait for each other in a circle, and
only then, in a new statement with a new snapshot, looks for its keys. A single statement
would look with the snapshot from before it got the lock. (The same hazard, commit order
against sequence order, is taught by `_lock_table` in pyeventsourcing's `postgres.py`.)
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.deduplication import BatchDeduplicator, Decision, Head, Key, PendingAppend
from storage.errors import BatchRefused, OutcomeUnknown, StorageUnavailable
from storage.model import Appended, Counts, Event, StoredEvent
from storage.postgres.errors import CUT_OFF, may_be_committed, reason, terminate, words
from storage.postgres.session import begin

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"

# Creates the topics that are new and locks all of them, in the order of the sorted input.
# An UPDATE over several topics would lock them in the order of its plan.
LOCK_TOPICS = """
INSERT INTO topics AS t (topic) SELECT topic FROM unnest($1::text[]) AS topic
ON CONFLICT (topic) DO UPDATE SET topic = t.topic
RETURNING t.topic, t.unique_processed, greatest(clock_timestamp(), t.last_ts_ingest),
          t.last_append::text"""

# LATERAL with LIMIT keeps the planner to one index look-up a key, also when its statistics
# are those of an empty table. With event_id = ANY(...) it may read a whole topic instead.
PROBE = """
SELECT k.topic, k.event_id, e."offset", e.source, e.payload
FROM unnest(string_to_array($1, chr(31)), string_to_array($2, chr(31))) AS k (topic, event_id)
CROSS JOIN LATERAL (
    SELECT "offset", source,
           CASE WHEN octet_length(payload::text) <= $3 THEN payload END AS payload
    FROM events WHERE topic = k.topic AND event_id = k.event_id LIMIT 1) AS e"""

_PAYLOAD = 'SELECT payload FROM events WHERE topic = $1 AND "offset" = $2'

COUNT = """
UPDATE topics AS t SET
    received = t.received + d.received,
    unique_processed = t.unique_processed + d.unique_processed,
    duplicate_dropped = t.duplicate_dropped + d.duplicate_dropped,
    conflicts = t.conflicts + d.conflicts,
    last_ts_ingest = d.ts_ingest,
    last_append = $7::text::uuid
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
            $6::timestamptz[])
     AS d (topic, received, unique_processed, duplicate_dropped, conflicts, ts_ingest)
WHERE t.topic = d.topic"""

_INSERT = """
INSERT INTO events (topic, "offset", event_id, timestamp, ts_ingest, source, payload)
SELECT topic, "offset", event_id, timestamp, ts_ingest, source, payload::json
FROM unnest(string_to_array($8, chr(31)), $9::bigint[], string_to_array($10, chr(31)),
            $11::timestamptz[], $12::timestamptz[], string_to_array($13, chr(31)),
            string_to_array($14, chr(31)))
     AS new (topic, "offset", event_id, timestamp, ts_ingest, source, payload)
ON CONFLICT (topic, event_id) DO NOTHING"""

# Both in one round trip. The answer counts the rows of the INSERT alone.
STORE = f"WITH counted AS ({COUNT}) {_INSERT}"

_BETWEEN_TEXTS = "\x1f"
"""chr(31), a control character: in no name, and in no JSON text as it is."""

_INLINE_PAYLOAD_BYTES = 4096
"""Larger stored payloads are fetched one at a time; see `storage.sqlite.transaction`."""

_MUCH_JSON = 65_536
"""Characters: payloads that differ and are together longer are compared off the event loop."""

_WAIT_FOR_STANDBY = "SyncRepWaitForLSN"
"""The function of the server that ends a COMMIT with a warning instead of an error when its wait
for a standby is cancelled. It names itself in any language of the server's messages."""


async def append(
    connection: PoolConnectionProxy,
    batch: Sequence[Event],
    *,
    on_locked: Callable[[], object] = lambda: None,
    on_decided: Callable[[PendingAppend], object] = lambda _underway: None,
) -> Appended:
    """Do the whole transaction of one batch; see `EventStore.append`.

    The connection is not in a transaction, neither before nor after, or it is closed.

    Args:
        on_locked: called once nobody else can store in the topics of the batch.
        on_decided: told what the batch leaves behind, if it is committed.
    """
    try:
        await begin(connection, BEGIN)
        decision = await _write(connection, batch, on_locked, on_decided)
    except (asyncpg.PostgresError, BatchRefused):
        await _roll_back(connection)
        raise
    except BaseException:
        # No answer: one to ROLLBACK would have to be waited for as long again.
        terminate(connection)
        raise
    started = time.perf_counter()
    await _commit(connection)
    return Appended(decision.verdicts, time.perf_counter() - started)


async def _write(
    connection: PoolConnectionProxy,
    batch: Sequence[Event],
    on_locked: Callable[[], object] = lambda: None,
    on_decided: Callable[[PendingAppend], object] = lambda _underway: None,
) -> Decision:
    deduplicator = BatchDeduplicator(batch)
    locked = await connection.fetch(LOCK_TOPICS, deduplicator.topics)
    on_locked()
    heads = {topic: Head(offset, ts_ingest_us) for topic, offset, ts_ingest_us, _ in locked}
    arguments = probe_arguments(deduplicator)
    await find(connection, deduplicator, await connection.fetch(PROBE, *arguments))
    decision = await settle(deduplicator, heads)
    pending = PendingAppend.of(decision, heads, {topic: before for topic, _, _, before in locked})
    on_decided(pending)
    await _store(connection, decision, heads, pending.append)
    return decision


def probe_arguments(deduplicator: BatchDeduplicator) -> tuple[str, str, int]:
    """What `PROBE` asks for: the keys of a batch."""
    topics, event_ids = zip(*deduplicator.keys, strict=True)
    return joined(topics), joined(event_ids), _INLINE_PAYLOAD_BYTES


async def find(
    connection: PoolConnectionProxy,
    deduplicator: BatchDeduplicator,
    found: Iterable[asyncpg.Record],
) -> None:
    """Tell the ledger what `PROBE` found."""
    for topic, event_id, offset, source, small_payload in found:
        payload: str = small_payload
        if small_payload is None:
            payload = await connection.fetchval(_PAYLOAD, topic, offset)
        await note(deduplicator, (topic, event_id), offset, source, payload)


async def note(
    deduplicator: BatchDeduplicator, key: Key, offset: int, source: str, payload: str
) -> None:
    """Tell the ledger of one event that is stored; much JSON is compared off the event loop."""
    if deduplicator.characters_to_compare(key, payload) > _MUCH_JSON:
        await asyncio.to_thread(deduplicator.found, key, offset, source, payload)
    else:
        deduplicator.found(key, offset, source, payload)


async def settle(deduplicator: BatchDeduplicator, heads: Mapping[str, Head]) -> Decision:
    """The ledger's decision; much JSON is compared off the event loop."""
    if deduplicator.characters_to_settle() > _MUCH_JSON:
        return await asyncio.to_thread(deduplicator.settle, heads)
    return deduplicator.settle(heads)


async def _store(
    connection: PoolConnectionProxy, decision: Decision, heads: Mapping[str, Head], append: str
) -> None:
    rows = decision.rows
    counts = _count_columns(decision.counts, heads, append)
    status = await connection.execute(STORE, *counts, *_event_columns(rows))
    # Under the topics' lock nothing can have come between; a row that the constraint turned
    # away although its key was not found is an event about to be lost, never a duplicate.
    if status != f"INSERT 0 {len(rows)}":
        raise BatchRefused(
            f"Postgres answered {status!r} to {len(rows)} new events; nothing was committed"
        )


def _count_columns(
    counts: Mapping[str, Counts], heads: Mapping[str, Head], append: str
) -> Sequence[object]:
    return (
        list(counts),
        [c.received for c in counts.values()],
        [c.unique_processed for c in counts.values()],
        [c.duplicate_dropped for c in counts.values()],
        [c.conflicts for c in counts.values()],
        [heads[topic].ts_ingest_us for topic in counts],
        append,
    )


def _event_columns(rows: Sequence[StoredEvent]) -> Sequence[object]:
    return (
        joined([r.topic for r in rows]),
        [r.offset for r in rows],
        joined([r.event_id for r in rows]),
        [r.timestamp_us for r in rows],
        [r.ts_ingest_us for r in rows],
        joined([r.source for r in rows]),
        joined([r.payload for r in rows]),
    )


def joined(texts: Sequence[str]) -> str:
    """Many texts as one argument, because the driver looks long at every element of an array.

    Raises:
        BatchRefused: the server could not take them apart again.
    """
    try:
        joined = _BETWEEN_TEXTS.join(texts)
    except TypeError as error:
        raise BatchRefused(f"not a text: {error}") from error
    if joined.count(_BETWEEN_TEXTS) >= max(len(texts), 1):
        raise BatchRefused("a text contains the control character U+001F")
    return joined


async def _roll_back(connection: PoolConnectionProxy) -> None:
    # Only a rollback that the server confirmed lets the connection be used again; closing it
    # makes the server roll back as soon as it notices.
    try:
        await connection.execute("ROLLBACK")
    except BaseException as error:
        terminate(connection)
        if not isinstance(error, (*CUT_OFF, asyncpg.PostgresError)):
            raise


async def _commit(connection: PoolConnectionProxy) -> None:
    with commits(connection, "COMMIT"):
        try:
            answer = await connection.execute("COMMIT")
        except asyncpg.PostgresError as error:
            if may_be_committed(error):
                raise OutcomeUnknown(
                    f"Postgres: COMMIT failed, and may be done: {words(error)}"
                ) from error
            raise
    if answer != "COMMIT":
        raise StorageUnavailable(f"Postgres answered {answer!r} to COMMIT")


@contextmanager
def commits(connection: PoolConnectionProxy, statement: str) -> Iterator[None]:
    """A statement that commits, and what to call it.

    Raises:
        OutcomeUnknown: it was not answered, or the server did not wait for its standby.
    """
    given_up: list[str] = []

    def hear(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.server_source_function == _WAIT_FOR_STANDBY:
            given_up.append(str(message.message))

    try:
        connection.add_log_listener(hear)
        yield
    except CUT_OFF as error:
        terminate(connection)
        raise OutcomeUnknown(f"Postgres: {statement} was not answered: {reason(error)}") from error
    finally:
        with suppress(asyncpg.InterfaceError):
            connection.remove_log_listener(hear)
    if given_up:
        raise OutcomeUnknown(f"Postgres: a standby may not have what was committed: {given_up[0]}")
