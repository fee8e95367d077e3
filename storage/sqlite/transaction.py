"""The write transaction: stores one batch on one connection, in a handful of statements.

It uses the standard library's `sqlite3` on a thread of its own, so that a whole transaction
runs in one hop. Every call that `sqlite3` makes into the engine gives up the interpreter
lock and has to get it back from a busy event loop, for every row of an `executemany` and for
every row fetched; measured beside a busy thread, that is the whole cost. So a batch is a
handful of statements, whatever its size: keys go in as one JSON argument and what is found
comes back as one JSON value. `docs/understand/decisions/0003-sqlite-writer.md` has the figures.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import TypeVar

import msgspec

from storage.deduplication import BatchDeduplicator, Decision, Head, Key
from storage.errors import BatchRefused, OutcomeUnknown, StorageError, StorageUnavailable
from storage.model import Event, StoredEvent, Verdict

BEGIN = "BEGIN IMMEDIATE"
"""Takes the write lock at once: a lock taken later, at the first write, fails with "database
is locked" in spite of the busy timeout when another writer came between."""

_HEADS = """
SELECT json_group_array(json_array(topic, unique_processed, last_ts_ingest))
FROM json_each(?) AS wanted CROSS JOIN topics ON topic = wanted.value"""

# Driven from the keys: planned the other way round, SQLite would read whole topics.
PROBE = """
SELECT json_group_array(json_array(
    topic, event_id, "offset", source,
    CASE WHEN length(CAST(payload AS BLOB)) <= ?2 THEN payload END))
FROM json_each(?1) AS wanted
CROSS JOIN json_each(wanted.value) AS id
CROSS JOIN events ON topic = wanted.key AND event_id = id.value"""

_PAYLOAD = 'SELECT payload FROM events WHERE topic = ? AND "offset" = ?'

# By name: a newer program that shares the file may have added columns, with defaults.
_INSERT = (
    "INSERT OR IGNORE INTO events "
    '(topic, "offset", event_id, timestamp, ts_ingest, source, payload) VALUES '
)
_INSERT_ROW = "(?, ?, ?, ?, ?, ?, ?)"
_MAX_INSERT_ROWS = 512
_EXACT_INSERT_ROWS = 64
PREPARED_STATEMENTS = 128
"""How many statements the connection is to keep prepared: room for every size of INSERT."""

COUNT = """
INSERT INTO topics
    (topic, received, unique_processed, duplicate_dropped, conflicts, last_ts_ingest)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
       json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]')
FROM json_each(?) WHERE true
ON CONFLICT (topic) DO UPDATE SET
    received = received + excluded.received,
    unique_processed = unique_processed + excluded.unique_processed,
    duplicate_dropped = duplicate_dropped + excluded.duplicate_dropped,
    conflicts = conflicts + excluded.conflicts,
    last_ts_ingest = excluded.last_ts_ingest"""

_INLINE_PAYLOAD_BYTES = 4096
"""Larger stored payloads are fetched one at a time, so that a batch of small events that
repeats large ones costs one large payload of memory, not all of them."""

Result = TypeVar("Result")

_encode = msgspec.json.encode
_decode_heads = msgspec.json.Decoder(list[tuple[str, int, int]]).decode
_decode_found = msgspec.json.Decoder(list[tuple[str, str, int, str, str | None]]).decode


def append(connection: sqlite3.Connection, batch: Sequence[Event]) -> list[Verdict]:
    """Do the whole transaction of one batch; see `EventStore.append`.

    The connection is in autocommit mode (`isolation_level=None`) and not in a transaction,
    neither before nor after, whatever is raised, unless even rolling back failed: see
    `is_spent`.
    """
    return transact(connection, lambda: store(connection, batch))


def prove(connection: sqlite3.Connection) -> None:
    """Do a transaction that reads and writes as `append` does, and changes nothing.

    Raises what `append` would.
    """

    def write() -> None:
        _write(connection, [])
        # The first page is written anew, so that COMMIT has something to flush.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version}")

    transact(connection, write)


def store(connection: sqlite3.Connection, batch: Sequence[Event]) -> list[Verdict]:
    """Store and count a batch within a transaction that has the write lock.

    Raises:
        sqlite3.Error, BatchRefused: what is written so far is to be rolled back.
    """
    return _write(connection, batch).verdicts


def transact(connection: sqlite3.Connection, write: Callable[[], Result]) -> Result:
    """Do a transaction under the write lock.

    Args:
        connection: as for `append`.
        write: does its statements, without BEGIN and COMMIT.

    Raises:
        StorageUnavailable, BatchRefused: rolled back.
        OutcomeUnknown: COMMIT failed; nobody knows.
    """
    committing = False
    try:
        connection.execute(BEGIN)
        result = write()
        committing = True
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        roll_back(connection)
        raise translate(error, committing=committing) from error
    except StorageUnavailable as error:
        roll_back(connection)
        if committing:
            raise OutcomeUnknown(str(error)) from error
        raise
    except BaseException:
        roll_back(connection)
        raise
    return result


def _write(connection: sqlite3.Connection, batch: Sequence[Event]) -> Decision:
    deduplicator = BatchDeduplicator(batch)
    heads = _heads(connection, deduplicator.topics)
    _probe(connection, deduplicator)
    decision = deduplicator.decide(heads)
    _insert(connection, decision.rows)
    counts = [
        (topic, c.received, c.unique_processed, c.duplicate_dropped, c.conflicts,
         heads[topic].ts_ingest_us)
        for topic, c in decision.counts.items()
    ]  # fmt: skip
    connection.execute(COUNT, (_encode(counts).decode(),))
    return decision


def _heads(connection: sqlite3.Connection, topics: Sequence[str]) -> dict[str, Head]:
    # Read after the lock is held, so that a later transaction never has an earlier time.
    now_us = time.time_ns() // 1000
    (found,) = connection.execute(_HEADS, (_encode(topics).decode(),)).fetchone()
    heads = {topic: Head(0, now_us) for topic in topics}
    for topic, offset, last_ts_ingest in _decode_heads(found):
        heads[topic] = Head(offset, max(now_us, last_ts_ingest))
    return heads


def _probe(connection: sqlite3.Connection, deduplicator: BatchDeduplicator) -> None:
    wanted: dict[str, list[str]] = {topic: [] for topic in deduplicator.topics}
    for topic, event_id in deduplicator.keys:
        wanted[topic].append(event_id)
    arguments = (_encode(wanted).decode(), _INLINE_PAYLOAD_BYTES)
    (found,) = connection.execute(PROBE, arguments).fetchone()
    for topic, event_id, offset, source, payload in _decode_found(found):
        key: Key = (topic, event_id)
        if payload is None:
            (payload,) = connection.execute(_PAYLOAD, (topic, offset)).fetchone()  # noqa: PLW2901
        deduplicator.add_stored(key, offset, source, payload)


def _insert(connection: sqlite3.Connection, rows: Sequence[StoredEvent]) -> None:
    inserted = 0
    for part in _parts(rows):
        sql = _INSERT + ",".join([_INSERT_ROW] * len(part))
        values = [
            (r.topic, r.offset, r.event_id, r.timestamp_us, r.ts_ingest_us, r.source, r.payload)
            for r in part
        ]
        inserted += connection.execute(sql, tuple(chain.from_iterable(values))).rowcount
    # OR IGNORE passes over a NOT NULL or CHECK violation as well: a row that was skipped
    # although its key was not there is an event about to be lost, never a duplicate.
    if inserted != len(rows):
        raise BatchRefused(
            f"SQLite stored {inserted} of {len(rows)} new events; nothing was committed"
        )


def _parts(rows: Sequence[StoredEvent]) -> Iterator[Sequence[StoredEvent]]:
    """Rows as few INSERTs of few sizes, so that these stay prepared: up to 64, or a multiple."""
    start = 0
    while start < len(rows):
        size = min(len(rows) - start, _MAX_INSERT_ROWS)
        if size > _EXACT_INSERT_ROWS:
            size -= size % _EXACT_INSERT_ROWS
        yield rows[start : start + size]
        start += size


@contextmanager
def write_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the context as one transaction under the write lock; driver errors are not translated.

    Args:
        connection: in autocommit mode.
    """
    try:
        connection.execute(BEGIN)
        yield
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """End the transaction if there is one; what fails here is not raised."""
    # SQLite ends a transaction by itself after some errors (full disk, I/O).
    if connection.in_transaction:
        # The error that led here is the one to tell; the connection shows whether this worked.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def is_spent(connection: sqlite3.Connection) -> bool:
    """Whether, with no transaction under way, the connection can't begin another."""
    try:
        # Not even ROLLBACK worked.
        return connection.in_transaction
    except sqlite3.ProgrammingError:
        return True


def translate(error: sqlite3.Error, *, committing: bool = False) -> StorageError:
    """Translate a driver error into the storage error that it means.

    Args:
        error: what the driver raised.
        committing: whether COMMIT raised it.
    """
    sentence = f"SQLite: {error}"
    code = _code(error)
    # Once COMMIT writes, a complete commit may be in the WAL although flushing it failed, and
    # count after a crash. Only a lock that was not given comes before that.
    if committing and code != sqlite3.SQLITE_BUSY:
        return OutcomeUnknown(sentence)
    if code in {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}:
        return BatchRefused(sentence)
    return StorageUnavailable(sentence)


def reports_damage(error: BaseException | None) -> bool:
    """Whether a driver error says that the file itself is damaged."""
    return isinstance(error, sqlite3.Error) and _code(error) in {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }


def _code(error: sqlite3.Error) -> int:
    # Errors that the Python module itself raises carry no code.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    return code & 0xFF
