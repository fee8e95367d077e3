"""The writers with one protection taken away: what a race test must see fail."""

import sqlite3
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from storage.deduplication import BatchDeduplicator, Decision, Head
from storage.model import Event, Verdict
from storage.postgres import locked_append as postgres_locked_append
from storage.postgres.appender import Backoff
from storage.postgres.turn import Turn
from storage.sqlite import transaction as sqlite_transaction

_COUNT_ARGUMENTS = 7
_COUNTED = "WHERE t.topic = d.topic"
_COUNT_AND_RECORD = (
    f"WITH counted AS ({postgres_locked_append.COUNT}) {postgres_locked_append.RECORD}"
)

LOOK_UP_OR_MAKE_TOPICS = """
WITH made AS (
    INSERT INTO topics (topic) SELECT topic FROM unnest($1::text[]) AS topic
    ON CONFLICT (topic) DO NOTHING
    RETURNING topic, unique_processed, clock_timestamp(), last_append::text)
SELECT * FROM made UNION ALL
SELECT topic, unique_processed, greatest(clock_timestamp(), last_ts_ingest), last_append::text
FROM topics WHERE topic = ANY($1)"""
"""Like LOCK_TOPICS, but a topic that is there is not locked."""

LOCK_AND_PROBE = f"""
WITH locked (topic, head, ts_ingest, last_append) AS ({postgres_locked_append.LOCK_TOPICS}),
found AS (
    SELECT e.* FROM unnest($2::text[], $3::text[]) AS k (topic, event_id)
    JOIN events AS e ON e.topic = k.topic AND e.event_id = k.event_id)
SELECT l.topic, l.head, l.ts_ingest, f.event_id, f."offset", f.source, f.payload
FROM locked AS l LEFT JOIN found AS f ON f.topic = l.topic"""
"""Lock and probe in one statement: it probes with the snapshot from before the lock."""


def lock_first(patch: pytest.MonkeyPatch) -> None:
    """Every batch on Postgres locks its topics before it is decided."""
    patch.setattr(Backoff, "may_try", lambda _: False)


def no_topic_lock(backend: str, patch: pytest.MonkeyPatch) -> None:
    """Topics are looked up without a lock; SQLite locks only when it first writes."""
    if backend == "sqlite":
        patch.setattr(sqlite_transaction, "BEGIN", "BEGIN")
    else:
        lock_first(patch)
        patch.setattr(postgres_locked_append, "LOCK_TOPICS", LOOK_UP_OR_MAKE_TOPICS)


def probe_before_lock(backend: str, patch: pytest.MonkeyPatch) -> None:
    """Keys are looked for with what was committed before the lock was there."""
    if backend == "sqlite":
        _sqlite_probe_before_lock(patch)
    else:
        lock_first(patch)
        patch.setattr(postgres_locked_append, "_write", _lock_and_probe)


async def _lock_and_probe(
    connection: Any, batch: Sequence[Event], *_: object, **_options: object
) -> Decision:
    deduplicator = BatchDeduplicator(batch)
    topics, event_ids = zip(*deduplicator.keys, strict=True)
    heads: dict[str, Head] = {}
    for topic, head, time_us, event_id, offset, source, payload in await connection.fetch(
        LOCK_AND_PROBE, deduplicator.topics, topics, event_ids
    ):
        heads[topic] = Head(head, time_us)
        if event_id is not None:
            deduplicator.add_stored((topic, event_id), offset, source, payload)
    decision = deduplicator.decide(heads)
    await postgres_locked_append._store(connection, decision, heads, str(uuid4()))
    return decision


class ArrivalOrder(BatchDeduplicator):
    """Has the topics locked in the order in which the batch names them."""

    def __init__(self, batch: Sequence[Event]) -> None:
        super().__init__(batch)
        self.topics = list(dict.fromkeys(event.topic for event in batch))


class _EarlyProbe:
    """A connection that knows what a probe before BEGIN found."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.found: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _Notes(BatchDeduplicator):
    """Writes down what was found."""

    notes: list[tuple[Any, ...]]

    def add_stored(self, *arguments: Any) -> None:
        self.notes.append(arguments)


def _sqlite_probe_before_lock(patch: pytest.MonkeyPatch) -> None:
    append, probe = sqlite_transaction.append, sqlite_transaction._probe

    def append_with_early_probe(connection: Any, batch: Sequence[Event]) -> list[Verdict]:
        early = _EarlyProbe(connection)
        deduplicator = _Notes(batch)
        deduplicator.notes = early.found
        probe(connection, deduplicator)
        return append(early, batch)  # type: ignore[arg-type]

    def replay(connection: Any, deduplicator: BatchDeduplicator) -> None:
        for arguments in connection.found:
            deduplicator.add_stored(*arguments)

    patch.setattr(sqlite_transaction, "append", append_with_early_probe)
    patch.setattr(sqlite_transaction, "_probe", replay)


def count_afterwards(backend: str, patch: pytest.MonkeyPatch) -> None:
    """The counts are written in a transaction of their own, after the events' COMMIT."""
    if backend == "sqlite":
        patch.setattr(
            sqlite_transaction, "append", _sqlite_count_afterwards(sqlite_transaction.append)
        )
    else:
        lock_first(patch)
        patch.setattr(postgres_locked_append, "COUNT", _COUNT_AND_RECORD)
        patch.setattr(
            postgres_locked_append,
            "append",
            _postgres_count_afterwards(postgres_locked_append.append),
        )


class _CountsLater:
    """A connection that writes no counts, but keeps what is needed to."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.kept: tuple[Any, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *arguments: Any) -> Any:
        if sql == sqlite_transaction.COUNT:
            self.kept = arguments
            return None
        if sql == postgres_locked_append.STORE:
            self.kept = arguments[:_COUNT_ARGUMENTS]
            sql = sql.replace(_COUNTED, f"{_COUNTED} AND false")
        return self._connection.execute(sql, *arguments)


def _sqlite_count_afterwards(append: Any) -> Any:
    def changed(connection: sqlite3.Connection, batch: Sequence[Event]) -> Any:
        later = _CountsLater(connection)
        verdicts = append(later, batch)
        try:
            connection.execute(sqlite_transaction.COUNT, *later.kept)
        except sqlite3.Error as error:
            raise sqlite_transaction.translate(error) from error
        return verdicts

    return changed


def _postgres_count_afterwards(append: Any) -> Any:
    async def changed(connection: Any, batch: Sequence[Event], turn: Turn, **options: Any) -> Any:
        later = _CountsLater(connection)
        verdicts = await append(later, batch, turn, **options)
        await connection.execute(postgres_locked_append.COUNT, *later.kept)
        return verdicts

    return changed
