"""Looks into a database past the store, and says whether the log in it is sound."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import asyncpg

from support.backends import Database

_COUNTS = "SELECT topic, received, unique_processed, duplicate_dropped, conflicts FROM topics"
_ROWS = """
SELECT topic, "offset", event_id, {timestamp}, {ts_ingest}, source, {payload}
FROM events ORDER BY topic, "offset" """
_RANGES = """
SELECT topic, first_offset, last_offset, {ts_ingest} FROM appends ORDER BY topic, first_offset"""
_MICROSECONDS = "(extract(epoch FROM {}) * 1000000)::bigint"


class StoredRow(NamedTuple):
    """A row of the log as it lies in the database."""

    topic: str
    offset: int
    event_id: str
    timestamp_us: int
    ts_ingest_us: int
    source: str
    payload: str


class Snapshot(NamedTuple):
    """The whole database at one moment.

    Four counts a topic, the rows by topic and offset, and the rows that the ranges of appends have
    room for, each as topic, offset and time.
    """

    counts: dict[str, tuple[int, int, int, int]]
    rows: list[StoredRow]
    recorded: Sequence[tuple[str, int, int]] = ()

    def assert_sound(self) -> None:
        """Conservation, uniqueness, dense offsets, times that do not go back, one append each."""
        for topic, (received, unique, duplicate, conflicts) in self.counts.items():
            assert received == unique + duplicate, f"{topic!r}: {self.counts[topic]}"
            assert 0 <= conflicts <= duplicate, f"{topic!r}: {self.counts[topic]}"
            offsets = [row.offset for row in self.rows if row.topic == topic]
            assert offsets == list(range(1, unique + 1)), f"{topic!r}: {unique} but {offsets}"
        assert {row.topic for row in self.rows} <= self.counts.keys()
        keys = [(row.topic, row.event_id) for row in self.rows]
        assert len(set(keys)) == len(keys), f"an event is doubled: {sorted(keys)}"
        places = [(row.topic, row.offset, row.ts_ingest_us) for row in self.rows]
        assert list(self.recorded) == places, f"{self.recorded} is recorded of {places}"
        for earlier, later in pairwise(self.rows):
            if earlier.topic == later.topic:
                assert earlier.ts_ingest_us <= later.ts_ingest_us, (earlier, later)

    @property
    def is_sound(self) -> bool:
        """Whether `assert_sound` has nothing to say."""
        try:
            self.assert_sound()
        except AssertionError:
            return False
        return True

    @property
    def keys(self) -> list[tuple[str, int, str]]:
        """(topic, offset, event_id) of every row."""
        return [(row.topic, row.offset, row.event_id) for row in self.rows]


class Observer:
    """A connection of the test's own: `asyncpg` or `sqlite3`."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    @classmethod
    @asynccontextmanager
    async def on(cls, database: Database) -> AsyncIterator["Observer"]:
        """One on this database, for as long as the context lasts."""
        if database.backend == "sqlite":
            connection = sqlite3.connect(database.path, isolation_level=None)
            try:
                yield cls(connection)
            finally:
                connection.close()
        else:
            session = await asyncpg.connect(database.dsn)
            try:
                yield cls(session)
            finally:
                await session.close()

    async def fetch(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Run one statement, in a transaction of its own."""
        if isinstance(self.connection, sqlite3.Connection):
            return self.connection.execute(sql, arguments).fetchall()
        return [tuple(row) for row in await self.connection.fetch(sql, *arguments)]

    async def snapshot(self) -> Snapshot:
        """Everything, from one snapshot of the database."""
        if isinstance(self.connection, sqlite3.Connection):
            begin, columns = "BEGIN", {"timestamp": "timestamp", "ts_ingest": "ts_ingest"}
        else:
            begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            columns = {name: _MICROSECONDS.format(name) for name in ("timestamp", "ts_ingest")}
        await self.fetch(begin)
        try:
            counts = {topic: tuple(four) for topic, *four in await self.fetch(_COUNTS)}
            rows = await self.fetch(_ROWS.format(payload="payload", **columns))
            ranges = await self.fetch(_RANGES.format(**columns))
        finally:
            await self.fetch("ROLLBACK")
        # A topic whose row was made in a transaction under way or rolled back has no counts.
        recorded = tuple(
            (topic, offset, time_us)
            for topic, first, last, time_us in ranges
            for offset in range(first, last + 1)
        )
        return Snapshot(counts, [StoredRow(*row) for row in rows], recorded)

    async def empty(self) -> None:
        """Take every event and every count away."""
        await self.fetch("DELETE FROM events")
        await self.fetch("DELETE FROM topics")
        await self.fetch("DELETE FROM appends")
