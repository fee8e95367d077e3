"""The writing half of the Postgres store: the transaction of one batch.

READ COMMITTED is enough, because every verdict is decided under a row lock: a batch first
locks its topics, in sorted order so that no two batches wait for each other in a circle, and
only then, in a new statement with a new snapshot, looks for its keys. A single statement
would look with the snapshot from before it got the lock. (The same hazard, commit order
against sequence order, is taught by `_lock_table` in pyeventsourcing's `postgres.py`.)
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.errors import (
    BatchRefused,
    OutcomeUnknown,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)
from storage.ledger import Decision, Head, Key, Ledger
from storage.model import Counts, Event, StoredEvent, Verdict

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"

# Creates the topics that are new and locks all of them, in the order of the sorted input.
# An UPDATE over several topics would lock them in the order of its plan.
LOCK_TOPICS = """
INSERT INTO topics AS t (topic) SELECT topic FROM unnest($1::text[]) AS topic
ON CONFLICT (topic) DO UPDATE SET topic = t.topic
RETURNING t.topic, t.unique_processed, greatest(clock_timestamp(), t.last_ts_ingest)"""

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
    last_ts_ingest = d.ts_ingest
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
            $6::timestamptz[])
     AS d (topic, received, unique_processed, duplicate_dropped, conflicts, ts_ingest)
WHERE t.topic = d.topic"""

_INSERT = """
INSERT INTO events (topic, "offset", event_id, timestamp, ts_ingest, source, payload)
SELECT topic, "offset", event_id, timestamp, ts_ingest, source, payload::json
FROM unnest(string_to_array($7, chr(31)), $8::bigint[], string_to_array($9, chr(31)),
            $10::timestamptz[], $11::timestamptz[], string_to_array($12, chr(31)),
            string_to_array($13, chr(31)))
     AS new (topic, "offset", event_id, timestamp, ts_ingest, source, payload)
ON CONFLICT (topic, event_id) DO NOTHING"""

# Both in one round trip. The answer counts the rows of the INSERT alone.
STORE = f"WITH counted AS ({COUNT}) {_INSERT}"

_BETWEEN_TEXTS = "\x1f"
"""chr(31), a control character: in no name, and in no JSON text as it is."""

_INLINE_PAYLOAD_BYTES = 4096
"""Larger stored payloads are fetched one at a time; see `storage.sqlite_writer`."""

_MUCH_JSON = 65_536
"""Characters: payloads that differ and are together longer are compared off the event loop."""

_RETRYABLE = ("08", "25", "40", "53", "55", "57", "58")
"""SQLSTATE classes whose cause is not the batch: connection, read-only, deadlock or
serialization, resources, lock not available, operator, system."""

_CUT_OFF = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver raises when a connection is lost; the last one when the server's farewell
arrives just as a statement is sent."""

_WAIT_FOR_STANDBY = "SyncRepWaitForLSN"
"""The function of the server that ends a COMMIT with a warning instead of an error when its wait
for a standby is cancelled. It names itself in any language of the server's messages."""


async def append(
    connection: PoolConnectionProxy,
    batch: Sequence[Event],
    *,
    on_locked: Callable[[], object] = lambda: None,
    on_commit: Callable[[float], object] = lambda _seconds: None,
) -> list[Verdict]:
    """Do the whole transaction of one batch; see `EventStore.append`.

    The connection is not in a transaction, neither before nor after, or it is closed.

    Args:
        on_locked: called once nobody else can store in the topics of the batch.
        on_commit: told how long COMMIT took, in seconds.
    """
    try:
        await connection.execute(BEGIN)
        decision = await _write(connection, batch, on_locked)
    except (asyncpg.PostgresError, BatchRefused):
        await _roll_back(connection)
        raise
    except BaseException:
        # No answer: one to ROLLBACK would have to be waited for as long again.
        terminate(connection)
        raise
    started = time.perf_counter()
    await _commit(connection)
    on_commit(time.perf_counter() - started)
    return decision.verdicts


async def _write(
    connection: PoolConnectionProxy,
    batch: Sequence[Event],
    on_locked: Callable[[], object] = lambda: None,
) -> Decision:
    ledger = Ledger(batch)
    locked = await connection.fetch(LOCK_TOPICS, ledger.topics)
    on_locked()
    heads = {topic: Head(offset, ts_ingest_us) for topic, offset, ts_ingest_us in locked}
    await _probe(connection, ledger)
    if ledger.characters_to_settle() > _MUCH_JSON:
        decision = await asyncio.to_thread(ledger.settle, heads)
    else:
        decision = ledger.settle(heads)
    await _store(connection, decision, heads)
    return decision


async def _probe(connection: PoolConnectionProxy, ledger: Ledger) -> None:
    topics, event_ids = zip(*ledger.keys, strict=True)
    found = await connection.fetch(
        PROBE, _joined(topics), _joined(event_ids), _INLINE_PAYLOAD_BYTES
    )
    for topic, event_id, offset, source, small_payload in found:
        payload: str = small_payload
        if small_payload is None:
            payload = await connection.fetchval(_PAYLOAD, topic, offset)
        key: Key = (topic, event_id)
        if ledger.characters_to_compare(key, payload) > _MUCH_JSON:
            await asyncio.to_thread(ledger.found, key, offset, source, payload)
        else:
            ledger.found(key, offset, source, payload)


async def _store(
    connection: PoolConnectionProxy, decision: Decision, heads: Mapping[str, Head]
) -> None:
    rows = decision.rows
    status = await connection.execute(
        STORE, *_count_columns(decision.counts, heads), *_event_columns(rows)
    )
    # Under the topics' lock nothing can have come between; a row that the constraint turned
    # away although its key was not found is an event about to be lost, never a duplicate.
    if status != f"INSERT 0 {len(rows)}":
        raise BatchRefused(
            f"Postgres answered {status!r} to {len(rows)} new events; nothing was committed"
        )


def _count_columns(counts: Mapping[str, Counts], heads: Mapping[str, Head]) -> Sequence[object]:
    return (
        list(counts),
        [c.received for c in counts.values()],
        [c.unique_processed for c in counts.values()],
        [c.duplicate_dropped for c in counts.values()],
        [c.conflicts for c in counts.values()],
        [heads[topic].ts_ingest_us for topic in counts],
    )


def _event_columns(rows: Sequence[StoredEvent]) -> Sequence[object]:
    return (
        _joined([r.topic for r in rows]),
        [r.offset for r in rows],
        _joined([r.event_id for r in rows]),
        [r.timestamp_us for r in rows],
        [r.ts_ingest_us for r in rows],
        _joined([r.source for r in rows]),
        _joined([r.payload for r in rows]),
    )


def _joined(texts: Sequence[str]) -> str:
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
        if not isinstance(error, (*_CUT_OFF, asyncpg.PostgresError)):
            raise


async def _commit(connection: PoolConnectionProxy) -> None:
    given_up: list[str] = []

    def hear(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.server_source_function == _WAIT_FOR_STANDBY:
            given_up.append(str(message.message))

    try:
        connection.add_log_listener(hear)
        answer = await connection.execute("COMMIT")
    except asyncpg.PostgresError as error:
        if _lost(error):
            raise OutcomeUnknown(
                f"Postgres: the connection was lost in COMMIT: {_words(error)}"
            ) from error
        raise
    except _CUT_OFF as error:
        terminate(connection)
        raise OutcomeUnknown(f"Postgres: COMMIT was not answered: {_reason(error)}") from error
    finally:
        with suppress(asyncpg.InterfaceError):
            connection.remove_log_listener(hear)
    if given_up:
        raise OutcomeUnknown(f"Postgres: a standby may not have what was committed: {given_up[0]}")
    if answer != "COMMIT":
        raise StorageUnavailable(f"Postgres answered {answer!r} to COMMIT")


def terminate(connection: PoolConnectionProxy) -> None:
    """Close a connection at once, without a word to the server."""
    # A connection that was seen to be lost has gone back to its pool by itself, and then even
    # this raises; what is being told must not be replaced by that.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


def _lost(error: asyncpg.PostgresError) -> bool:
    return not error.sqlstate or error.sqlstate[:2] in {"08", "57", "58", "XX"}


@asynccontextmanager
async def translated() -> AsyncGenerator[None, None]:
    """Turn the driver's exceptions into those of `storage.errors`."""
    try:
        yield
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.InsufficientPrivilegeError,
    ) as error:
        raise StorageMisconfigured(f"Postgres: {_words(error)}") from error
    except asyncpg.PostgresError as error:
        raise _translate(error) from error
    except _CUT_OFF as error:
        raise StorageUnavailable(f"Postgres is out of reach: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    silent = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return str(error) or silent


def _words(error: asyncpg.PostgresError) -> str:
    parts = (error.args[0] if error.args else "", error.detail, error.hint)
    return "; ".join(part for part in parts if part).replace("\n", " ")


def _translate(error: asyncpg.PostgresError) -> StorageError:
    sentence = f"Postgres: {_words(error)}"
    if not error.sqlstate or error.sqlstate.startswith(_RETRYABLE):
        return StorageUnavailable(sentence)
    return BatchRefused(sentence)
