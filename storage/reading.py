"""Reading the log page by page, the same for every backend.

Three facts of the log make it cheap. Offsets are dense, so the end of a page is arithmetic,
and so is the stretch of rows that a filter may look at. `ts_ingest` never decreases within a
topic, so a time is found by bisection of the offsets, without an index. And nothing is ever
changed, so pages need no common snapshot to fit together.

The SQL is what SQLite and Postgres have in common, with `$1` placeholders.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

from storage.errors import StorageError
from storage.model import (
    MAX_TIME_US,
    MIN_TIME_US,
    Counts,
    Page,
    Position,
    Query,
    StoredEvent,
)

Row = Sequence[Any]
Rows = Callable[[str, Sequence[object]], AsyncGenerator[Row, None]]
"""Runs a statement with its arguments and yields its rows, a few at a time."""

PAGE_BYTES = 8 * 2**20
"""A page ends behind the event that takes its payloads past this many characters."""

SCAN_ROWS = 10_000
"""How many rows a page looks at for a filter that no index serves."""

_COLUMNS = 'topic, "offset", event_id, timestamp, ts_ingest, source, payload'

_HEAD = "SELECT unique_processed FROM topics WHERE topic = $1"

_GET = f"SELECT {_COLUMNS} FROM events WHERE topic = $1 AND event_id = $2"

_STATS = """
SELECT topic, received, unique_processed, duplicate_dropped, conflicts
FROM topics WHERE received > 0 ORDER BY topic"""

_SPAN = f"""
SELECT {_COLUMNS} FROM events
WHERE topic = $1 AND "offset" BETWEEN $2 AND $3 {{source}}
ORDER BY "offset" {{direction}} LIMIT $4"""

_ACROSS = f"""
SELECT {_COLUMNS} FROM events
WHERE (ts_ingest, topic, "offset") > ($1, $2, $3)
  AND (ts_ingest, topic, "offset") < ($4, $5, $6) {{source}}
ORDER BY ts_ingest {{direction}}, topic {{direction}}, "offset" {{direction}} LIMIT $7"""

_SCAN_END = """
SELECT ts_ingest, topic, "offset" FROM events
WHERE (ts_ingest, topic, "offset") > ($1, $2, $3)
  AND (ts_ingest, topic, "offset") < ($4, $5, $6)
ORDER BY ts_ingest {direction}, topic {direction}, "offset" {direction} LIMIT 1 OFFSET $7"""

# The first offset of a topic whose ts_ingest is not below $2; head + 1 if there is none, no
# row at all if an offset on the way is missing. Sub-selects, because a join with the events of
# the topic would let the planner read all of them.
_BISECT = """
WITH RECURSIVE bisect (low, high) AS (
    SELECT CAST(1 AS bigint), CAST($3 AS bigint) + 1
    UNION ALL
    SELECT CASE WHEN (SELECT ts_ingest FROM events
                      WHERE topic = $1 AND "offset" = (low + high) / 2) < $2
                THEN (low + high) / 2 + 1 ELSE low END,
           CASE WHEN (SELECT ts_ingest FROM events
                      WHERE topic = $1 AND "offset" = (low + high) / 2) < $2
                THEN high ELSE (low + high) / 2 END
    FROM bisect
    WHERE low < high
      AND (SELECT ts_ingest FROM events
           WHERE topic = $1 AND "offset" = (low + high) / 2) IS NOT NULL
)
SELECT low FROM bisect WHERE low = high"""


class LogReader(ABC):
    """The reading half of an `EventStore`, over connections that a backend provides."""

    @abstractmethod
    def _reader(self) -> AbstractAsyncContextManager[Rows]:
        """A connection to read through, for as long as the context lasts."""

    async def read(self, query: Query) -> Page:
        """See `EventStore.read`."""
        async with self._reader() as rows:
            if query.topic is None:
                return await _read_across(rows, query)
            return await _read_topic(rows, query, query.topic)

    async def get(self, topic: str, event_id: str) -> StoredEvent | None:
        """See `EventStore.get`."""
        async with self._reader() as rows:
            row = await _first(rows, _GET, (topic, event_id))
            return StoredEvent(*row) if row else None

    async def stats(self) -> dict[str, Counts]:
        """See `EventStore.stats`."""
        async with self._reader() as rows, aclosing(rows(_STATS, ())) as found:
            return {topic: Counts(*counts) async for topic, *counts in found}


async def _read_topic(rows: Rows, query: Query, topic: str) -> Page:
    row = await _first(rows, _HEAD, (topic,))
    head: int = row[0] if row else 0
    low, high = query.after + 1, head
    if query.since_us is not None and low <= high:
        low = max(low, await _first_offset_at(rows, topic, query.since_us, head))
    if query.until_us is not None and low <= high:
        high = min(high, await _first_offset_at(rows, topic, query.until_us, head) - 1)
    if query.position is not None:
        seen = query.position.offset
        low, high = (low, min(high, seen - 1)) if query.newest_first else (max(low, seen + 1), high)
    if low > high:
        return Page([], None)

    last = low if query.newest_first else high
    if query.source is not None:
        if query.newest_first:
            low = max(low, high - SCAN_ROWS + 1)
        else:
            high = min(high, low + SCAN_ROWS - 1)
    scanned = low if query.newest_first else high

    sql = _SPAN.format(source="AND source = $5" if query.source is not None else "", **_way(query))
    source = [] if query.source is None else [query.source]
    args = [topic, low, high, query.limit + 1, *source]
    events, more = await _fill(rows, sql, args, query.limit)
    seen = events[-1].offset if more else scanned
    if seen == last:
        return Page(events, None)
    ts_ingest_us = events[-1].ts_ingest_us if events else 0
    return Page(events, Position(ts_ingest_us, topic, seen))


async def _read_across(rows: Rows, query: Query) -> Page:
    # No event has the topic "" or the offset 0, so these bounds take in all of `since_us`
    # and nothing of `until_us`.
    low = Position(MIN_TIME_US if query.since_us is None else query.since_us, "", 0)
    high = Position(MAX_TIME_US if query.until_us is None else query.until_us, "", 0)
    if query.position is not None:
        low, high = (low, query.position) if query.newest_first else (query.position, high)

    way = _way(query)
    scanned: Position | None = None
    if query.source is not None:
        row = await _first(rows, _SCAN_END.format(**way), (*_flat(low, high), SCAN_ROWS - 1))
        if row is not None:
            scanned = Position(*row)
            # The bounds are exclusive, and the last row looked at is still part of the page.
            if query.newest_first:
                low = Position(scanned.ts_ingest_us, scanned.topic, scanned.offset - 1)
            else:
                high = Position(scanned.ts_ingest_us, scanned.topic, scanned.offset + 1)

    sql = _ACROSS.format(source="AND source = $8" if query.source is not None else "", **way)
    source = [] if query.source is None else [query.source]
    args = [*_flat(low, high), query.limit + 1, *source]
    events, more = await _fill(rows, sql, args, query.limit)
    if more:
        end = events[-1]
        return Page(events, Position(end.ts_ingest_us, end.topic, end.offset))
    return Page(events, scanned)


async def _fill(
    rows: Rows, sql: str, args: Sequence[object], limit: int
) -> tuple[list[StoredEvent], bool]:
    """Take rows until the page is full; tells whether another row follows."""
    events: list[StoredEvent] = []
    size = 0
    async with aclosing(rows(sql, args)) as found:
        async for row in found:
            if len(events) == limit or size >= PAGE_BYTES:
                return events, True
            events.append(StoredEvent(*row))
            size += len(events[-1].payload)
    return events, False


async def _first_offset_at(rows: Rows, topic: str, time_us: int, head: int) -> int:
    row = await _first(rows, _BISECT, (topic, time_us, head))
    if row is None:
        raise StorageError(f"topic {topic!r} lacks an offset between 1 and its head {head}")
    offset: int = row[0]
    return offset


async def _first(rows: Rows, sql: str, args: Sequence[object]) -> Row | None:
    async with aclosing(rows(sql, args)) as found:
        async for row in found:
            return row
    return None


def _way(query: Query) -> dict[str, str]:
    return {"direction": "DESC" if query.newest_first else "ASC"}


def _flat(low: Position, high: Position) -> tuple[int, str, int, int, str, int]:
    return (low.ts_ingest_us, low.topic, low.offset, high.ts_ingest_us, high.topic, high.offset)
