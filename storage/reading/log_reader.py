"""Reading the log page by page, the same for every backend.

Three facts of the log make it cheap. Offsets are dense, so the end of a page is arithmetic,
and so is the stretch of rows that a filter may look at. `ts_ingest` never decreases within a
topic, so a time is found by bisection of the offsets, without an index. And nothing is ever
changed, so pages need no common snapshot to fit together.

What a read holds in memory is bounded in bytes, however large payloads are: see
`storage.reading.page_fetch`.

The SQL is what SQLite and Postgres have in common, with `$1` placeholders; each of them defines how
a payload is fetched.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import msgspec

from storage.errors import StorageError
from storage.model import (
    LARGEST_PAYLOAD_BYTES,
    MAX_TIME_US,
    MIN_TIME_US,
    TOPICS_PER_PAGE,
    Counts,
    LogEvent,
    Page,
    Position,
    Query,
    Stats,
)
from storage.reading.page_fetch import (
    BoundsAfter,
    PayloadSql,
    RowRange,
    Rows,
    fetch_event,
    fetch_first,
    fetch_page,
    fetch_value,
)

SCAN_ROWS = 10_000
"""Maximum number of rows that a page reads for a filter that no index serves."""

_COLUMNS = 'topic, "offset", event_id, timestamp, ts_ingest, source'

HEAD = "SELECT unique_processed FROM topics WHERE topic = $1"

HEADS = "SELECT topic, unique_processed FROM topics WHERE topic IN ({names})"

GET = f"SELECT {_COLUMNS}, {{payload}} FROM events WHERE topic = $1 AND event_id = $2"

# One statement, so one snapshot on either backend. The totals are repeated in each row. Every name
# is above '', which lets Postgres go by the index; its sessions here have scans of tables off.
STATS = """
WITH totals AS (
    SELECT count(*) AS topics,
           CAST(coalesce(sum(received), 0) AS bigint) AS received,
           CAST(coalesce(sum(unique_processed), 0) AS bigint) AS unique_processed,
           CAST(coalesce(sum(duplicate_dropped), 0) AS bigint) AS duplicate_dropped,
           CAST(coalesce(sum(conflicts), 0) AS bigint) AS conflicts
    FROM topics WHERE topic > '' AND received > 0
), listed AS (
    SELECT topic, received, unique_processed, duplicate_dropped, conflicts
    FROM topics WHERE received > 0 AND {listed} ORDER BY topic LIMIT $2
)
SELECT t.topics, t.received, t.unique_processed, t.duplicate_dropped, t.conflicts,
       l.topic, l.received, l.unique_processed, l.duplicate_dropped, l.conflicts
FROM totals AS t LEFT JOIN listed AS l ON true"""

SPAN = f"""
SELECT {_COLUMNS}, {{payload}} FROM events
WHERE topic = $1 AND "offset" BETWEEN $2 AND $3 {{source}}
ORDER BY "offset" {{direction}} LIMIT $4"""

ACROSS = f"""
SELECT {_COLUMNS}, {{payload}} FROM events
WHERE (ts_ingest, topic, "offset") > ($1, $2, $3)
  AND (ts_ingest, topic, "offset") < ($4, $5, $6) {{source}}
ORDER BY ts_ingest {{direction}}, topic {{direction}}, "offset" {{direction}} LIMIT $7"""

SCAN_END = """
SELECT ts_ingest, topic, "offset" FROM events
WHERE (ts_ingest, topic, "offset") > ($1, $2, $3)
  AND (ts_ingest, topic, "offset") < ($4, $5, $6)
ORDER BY ts_ingest {direction}, topic {direction}, "offset" {direction} LIMIT 1 OFFSET $7"""

# The first offset of a topic whose ts_ingest is not below $2; head + 1 if there is none, no
# row at all if an offset on the way is missing. Sub-selects, because a join with the events of
# the topic would let the planner read all of them.
BISECT = """
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


_encode_names = msgspec.json.Encoder().encode


class LogReader(ABC):
    """Reader of the log over connections that a backend provides; an `EventReader`."""

    payload_sql: ClassVar[PayloadSql]
    """How the backend fetches a payload."""

    names_sql: ClassVar[str]
    """The names that the JSON array `$1` holds, as a sub-select."""

    @abstractmethod
    def _reader(self) -> AbstractAsyncContextManager[Rows]:
        """Lend a connection to read through, for as long as the context lasts."""

    async def read(self, query: Query) -> Page:
        """See `EventReader.read`."""
        async with self._reader() as rows:
            if query.topic is None:
                return await self._read_across(rows, query)
            return await self._read_topic(rows, query, query.topic)

    async def get(
        self, topic: str, event_id: str, *, max_payload_bytes: int = LARGEST_PAYLOAD_BYTES
    ) -> LogEvent | None:
        """See `EventReader.get`."""
        sql = GET.format(payload=self.payload_sql.up_to("$3"))
        async with self._reader() as rows:
            row = await fetch_first(rows, sql, (topic, event_id, max_payload_bytes))
            if row is None:
                return None
            return await fetch_event(rows, self.payload_sql, row, max_payload_bytes)

    async def heads(self, topics: Sequence[str]) -> Mapping[str, int]:
        """See `EventReader.heads`."""
        sql = HEADS.format(names=self.names_sql)
        async with self._reader() as rows:
            found = await rows(sql, (_encode_names(list(topics)).decode(),))
        return dict.fromkeys(topics, 0) | {topic: head for topic, head in found}  # noqa: C416 - a row of the driver is no pair

    async def stats(
        self, *, topic: str | None = None, after: str = "", limit: int = TOPICS_PER_PAGE
    ) -> Stats:
        """See `EventReader.stats`."""
        which, name = ("topic > $1", after) if topic is None else ("topic = $1", topic)
        async with self._reader() as rows:
            found = await rows(STATS.format(listed=which), (name, limit + 1 if limit else 0))
        topics_total, *totals = found[0][:5]
        # In byte order, since names of topics are ASCII. Asked to order them, a database may sort.
        listed = sorted(tuple(row[5:]) for row in found if row[5] is not None)
        topics = {name: Counts(*counts) for name, *counts in listed[:limit]}
        return Stats(Counts(*totals), topics_total, topics, more=len(listed) > limit > 0)

    async def _read_topic(self, rows: Rows, query: Query, topic: str) -> Page:
        low, high = await _offsets(rows, query, topic)
        if low > high:
            return Page([], None)

        last = low if query.newest_first else high
        if query.source is not None:
            if query.newest_first:
                low = max(low, high - SCAN_ROWS + 1)
            else:
                high = min(high, low + SCAN_ROWS - 1)
        scanned = low if query.newest_first else high

        def bounds_after(event: LogEvent | None) -> tuple[str, int, int]:
            if event is None:
                return topic, low, high
            if query.newest_first:
                return topic, low, event.offset - 1
            return topic, event.offset + 1, high

        events, more = await fetch_page(rows, self._row_range(SPAN, 4, query, bounds_after), query)
        seen = events[-1].offset if more else scanned
        if seen == last:
            return Page(events, None)
        ts_ingest_us = events[-1].ts_ingest_us if events else 0
        return Page(events, Position(ts_ingest_us, topic, seen))

    async def _read_across(self, rows: Rows, query: Query) -> Page:
        # No event has the topic "" or the offset 0, so these bounds take in all of `since_us`
        # and nothing of `until_us`.
        low = Position(MIN_TIME_US if query.since_us is None else query.since_us, "", 0)
        high = Position(MAX_TIME_US if query.until_us is None else query.until_us, "", 0)
        if query.position is not None:
            low, high = (low, query.position) if query.newest_first else (query.position, high)

        scanned: Position | None = None
        if query.source is not None:
            row = await fetch_first(
                rows, SCAN_END.format(**_direction(query)), (*_bounds(low, high), SCAN_ROWS - 1)
            )
            if row is not None:
                scanned = Position(*row)
                # The bounds are exclusive, and the last row looked at is still part of the page.
                if query.newest_first:
                    low = Position(scanned.ts_ingest_us, scanned.topic, scanned.offset - 1)
                else:
                    high = Position(scanned.ts_ingest_us, scanned.topic, scanned.offset + 1)

        def bounds_after(event: LogEvent | None) -> tuple[int, str, int, int, str, int]:
            if event is None:
                return _bounds(low, high)
            position = _position(event)
            return _bounds(low, position) if query.newest_first else _bounds(position, high)

        events, more = await fetch_page(
            rows, self._row_range(ACROSS, 7, query, bounds_after), query
        )
        return Page(events, _position(events[-1]) if more else scanned)

    def _row_range(self, sql: str, limit: int, query: Query, bounds_after: BoundsAfter) -> RowRange:
        """Make the range that a page is fetched from.

        Args:
            sql: with the parameter number `limit` as its LIMIT.
            limit: see there.
            query: the page.
            bounds_after: the first arguments of the statement.
        """
        source = () if query.source is None else (query.source,)
        text = sql.format(
            payload=self.payload_sql.up_to(f"${limit + 1}"),
            source=f"AND source = ${limit + 2}" if source else "",
            **_direction(query),
        )
        return RowRange(text, bounds_after, source, self.payload_sql)


async def _offsets(rows: Rows, query: Query, topic: str) -> tuple[int, int]:
    """Find the first and the last offset that may be part of the pages of a query."""
    head: int = await fetch_value(rows, HEAD, (topic,)) or 0
    low, high = query.after + 1, head
    if query.since_us is not None and low <= high:
        low = max(low, await _first_offset_at(rows, topic, query.since_us, head))
    if query.until_us is not None and low <= high:
        high = min(high, await _first_offset_at(rows, topic, query.until_us, head) - 1)
    if query.position is not None:
        seen = query.position.offset
        low, high = (low, min(high, seen - 1)) if query.newest_first else (max(low, seen + 1), high)
    return low, high


async def _first_offset_at(rows: Rows, topic: str, time_us: int, head: int) -> int:
    offset: int | None = await fetch_value(rows, BISECT, (topic, time_us, head))
    if offset is None:
        raise StorageError(f"topic {topic!r} lacks an offset between 1 and its head {head}")
    return offset


def _position(event: LogEvent) -> Position:
    return Position(event.ts_ingest_us, event.topic, event.offset)


def _direction(query: Query) -> dict[str, str]:
    return {"direction": "DESC" if query.newest_first else "ASC"}


def _bounds(low: Position, high: Position) -> tuple[int, str, int, int, str, int]:
    return (low.ts_ingest_us, low.topic, low.offset, high.ts_ingest_us, high.topic, high.offset)
