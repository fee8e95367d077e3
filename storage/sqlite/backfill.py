"""Backfill of `appends`: rows for what was stored before the triggers that write that table.

It follows the index by time, a batch after the other. What it reads does not change any more, so it
holds the write lock only for the rows that it adds, together with how far it has come: killed, it
goes on from there, and an aggregator of the version before goes on storing beside it.
"""

import sqlite3
import time

from storage.migrations import still_migrating
from storage.sqlite.transaction import write_transaction

BATCH_EVENTS = 100_000
"""Events that one step reads: some hundredths of a second."""

_POSITION = 'SELECT ts_ingest, topic, "offset", events_done, events_total FROM appends_backfill'

_HAS_TABLE = "SELECT count(*) FROM sqlite_schema WHERE name = 'appends_backfill'"

_RANGES = """
SELECT ts_ingest, topic, min("offset"), max("offset") FROM (
    SELECT ts_ingest, topic, "offset" FROM events INDEXED BY events_by_ts_ingest
    WHERE (ts_ingest, topic, "offset") > (?, ?, ?)
    ORDER BY ts_ingest, topic, "offset" LIMIT ?)
GROUP BY ts_ingest, topic ORDER BY ts_ingest, topic"""

# What is behind the head that a topic had then, the triggers have written.
_ADD = """
INSERT INTO appends (ts_ingest, topic, first_offset, last_offset)
SELECT ?1, ?2, ?3, min(?4, head_offset) FROM appends_backfill_heads
WHERE topic = ?2 AND ?3 <= head_offset"""

_MOVE = """
UPDATE appends_backfill SET ts_ingest = ?, topic = ?, "offset" = ?, events_done = ?"""

Position = tuple[int, str, int, int, int]
"""Where it stands: time, topic and offset of the last event that is done; events done, and all."""


def is_done(connection: sqlite3.Connection) -> bool:
    """Tell whether every event that is stored is in the table; the schema has that table."""
    return connection.execute(_POSITION).fetchone() is None


def backfill(connection: sqlite3.Connection, deadline_s: float) -> None:
    """Add what is missing, in a transaction for each batch.

    Args:
        connection: in autocommit mode.
        deadline_s: when to stop, by the monotonic clock; one batch is always added.

    Raises:
        StorageUnavailable: there is more to add; the next call goes on.
        sqlite3.Error: the batch was not added.
    """
    position = _read_position(connection)
    while position is not None:
        _add_batch(connection, position)
        position = _read_position(connection)
        if position is not None and time.monotonic() > deadline_s:
            *_, done, total = position
            raise still_migrating(done, total)


def _read_position(connection: sqlite3.Connection) -> Position | None:
    with write_transaction(connection):
        return _position(connection)


def _position(connection: sqlite3.Connection) -> Position | None:
    # Another aggregator may have come to the end, and applied the migration behind it.
    if connection.execute(_HAS_TABLE).fetchone() == (0,):
        return None
    found: Position | None = connection.execute(_POSITION).fetchone()
    return found


def _add_batch(connection: sqlite3.Connection, position: Position) -> None:
    *place, done, total = position
    ranges = connection.execute(_RANGES, (*place, BATCH_EVENTS)).fetchall()
    with write_transaction(connection):
        if _position(connection) != position:
            return  # another aggregator added it
        connection.executemany(_ADD, ranges)
        if sum(last - first + 1 for _, _, first, last in ranges) < BATCH_EVENTS:
            connection.execute("DELETE FROM appends_backfill")
            return
        ts_ingest_us, topic, _, last = ranges[-1]
        done = min(done + BATCH_EVENTS, total)
        connection.execute(_MOVE, (ts_ingest_us, topic, last, done))
