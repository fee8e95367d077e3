"""Backfill of `appends`: rows for what was stored before the triggers that write that table.

It follows the index by time, a batch after the other, each in a transaction of its own together
with how far it has come: killed, it goes on from there. What it reads does not change any more, and
no batch waits for it.
"""

import asyncio

from storage.migrations import AFTER_BACKFILL, still_migrating
from storage.postgres.session import AnyConnection, begin

BATCH_EVENTS = 100_000
"""Events that one step reads: some tenths of a second."""

MIGRATION_LOCK = 0x45564C47
"""The advisory lock of whoever changes the schema."""

_POSITION = 'SELECT ts_ingest, topic, "offset", events_done, events_total FROM appends_backfill'

_LAST_OF_BATCH = """
SELECT ts_ingest, topic, "offset" FROM events WHERE (ts_ingest, topic, "offset") > ($1, $2, $3)
ORDER BY ts_ingest, topic, "offset" OFFSET $4 LIMIT 1"""

# What is behind the head that a topic had then, the triggers have written.
_ADD = """
INSERT INTO appends (ts_ingest, topic, first_offset, last_offset)
SELECT r.ts_ingest, r.topic, r.first_offset, least(r.last_offset, h.head_offset)
FROM (SELECT ts_ingest, topic, min("offset") AS first_offset, max("offset") AS last_offset
      FROM events WHERE (ts_ingest, topic, "offset") > ($1, $2, $3) {end}
      GROUP BY ts_ingest, topic) AS r
JOIN appends_backfill_heads AS h ON h.topic = r.topic AND r.first_offset <= h.head_offset"""
_ADD_BATCH = _ADD.format(end='AND (ts_ingest, topic, "offset") <= ($4, $5, $6)')
_ADD_REST = _ADD.format(end="")

_MOVE = """
UPDATE appends_backfill SET ts_ingest = $1, topic = $2, "offset" = $3,
    events_done = least(events_done + $4, events_total)"""


async def is_done(connection: AnyConnection) -> bool:
    """Tell whether every event that is stored is in the table; the schema has that table."""
    return not await connection.fetch(_POSITION)


async def backfill(connection: AnyConnection, deadline_s: float) -> None:
    """Add what is missing, in a transaction for each batch.

    Args:
        connection: not in a transaction; names are looked for in the schema of the log.
        deadline_s: when to stop, by the clock of the event loop; one batch is always added.

    Raises:
        StorageUnavailable: there is more to add; the next call goes on.
    """
    while True:
        await begin(connection, "BEGIN ISOLATION LEVEL READ COMMITTED")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        left = await _add_batch(connection)
        await connection.execute("COMMIT")
        if left is None:
            return
        if asyncio.get_running_loop().time() > deadline_s:
            raise still_migrating(*left)


async def _add_batch(connection: AnyConnection) -> tuple[int, int] | None:
    """Add a batch; return how many events are done, and of how many, or None if that is all."""
    # Another aggregator may have come to the end, and applied the migration behind it. The catalog
    # would not do here: what this session has cached of it may be from before the lock.
    version = await connection.fetchval("SELECT max(version) FROM aggregator_schema")
    if version >= AFTER_BACKFILL["postgres"]:
        return None
    found = await connection.fetch(_POSITION)
    if not found:
        return None
    *position, done, total = found[0]
    last = await connection.fetch(_LAST_OF_BATCH, *position, BATCH_EVENTS - 1)
    if not last:
        await connection.execute(_ADD_REST, *position)
        await connection.execute("DELETE FROM appends_backfill")
        return None
    await connection.execute(_ADD_BATCH, *position, *last[0])
    await connection.execute(_MOVE, *last[0], BATCH_EVENTS)
    return min(done + BATCH_EVENTS, total), total
