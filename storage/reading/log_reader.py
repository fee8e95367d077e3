"""Reading the log page by page, the same for every backend.

Three facts of the log make it cheap. Offsets are dense, so the end of a page is arithmetic,
and so is the stretch of rows that a filter may scan. `ts_ingest` never decreases within a
topic, so a time is found by bisection of the offsets, without an index. And nothing is ever
changed, so pages need no common snapshot to fit together.

A page is read from ranges of offsets: one range of a topic, or across topics those of the table
`appends`, which says what was stored when. What a read holds in memory is bounded in bytes,
however large payloads are: see `storage.reading.page_fetch`.

The SQL here is what SQLite and Postgres have in common, with `$1` placeholders; each of them
defines how rows of events are fetched.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
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
    Encoded,
    EventColumns,
    Page,
    Position,
    Query,
    Stats,
)
from storage.reading.offset_ranges import OffsetRange, RangeCursor, count_rows
from storage.reading.page_fetch import PageFetch
from storage.reading.statements import ReadingSql, RowDecoder, Rows, fetch_value

SCAN_ROWS = 10_000
"""Maximum number of rows that a page scans for a filter that no index serves."""

_FIRST_RANGES, _MORE_RANGES = 64, 1024
"""How many ranges are fetched at a time: few, where an append stores many events."""

HEAD = "SELECT unique_processed FROM topics WHERE topic = $1"

HEADS = "SELECT topic, unique_processed FROM topics WHERE topic IN ({names})"

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

# Across topics the log is read in the order of this table. Of the ranges of one topic and time,
# which may be several, those before a position are told by their offsets.
RANGES_FROM = """
SELECT topic, first_offset, last_offset, ts_ingest FROM appends
WHERE (ts_ingest, topic) >= ($1, $2) AND ts_ingest < $4
  AND NOT (ts_ingest = $1 AND topic = $2 AND last_offset <= $3)
ORDER BY ts_ingest, topic, first_offset LIMIT $5"""

RANGES_BEFORE = """
SELECT topic, first_offset, last_offset, ts_ingest FROM appends
WHERE (ts_ingest, topic) <= ($1, $2) AND ts_ingest >= $4
  AND NOT (ts_ingest = $1 AND topic = $2 AND first_offset >= $3)
ORDER BY ts_ingest DESC, topic DESC, first_offset DESC LIMIT $5"""

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

    sql: ClassVar[ReadingSql]
    decoder: ClassVar[RowDecoder]
    """How the backend fetches rows of events."""

    names_sql: ClassVar[str]
    """The names that the JSON array `$1` holds, as a sub-select."""

    def __init__(self) -> None:
        self._fetch = PageFetch(self.sql, self.decoder)

    @abstractmethod
    def _reader(self) -> AbstractAsyncContextManager[Rows]:
        """Lend a connection to read through, for as long as the context lasts."""

    async def read(self, query: Query, encode: Callable[[EventColumns], Encoded]) -> Page[Encoded]:
        """See `EventReader.read`."""
        async with self._reader() as rows:
            if query.topic is None:
                return await self._read_across(rows, query, encode)
            return await self._read_topic(rows, query, query.topic, encode)

    async def get(
        self, topic: str, event_id: str, *, max_payload_bytes: int = LARGEST_PAYLOAD_BYTES
    ) -> EventColumns | None:
        """See `EventReader.get`."""
        async with self._reader() as rows:
            return await self._fetch.event(rows, topic, event_id, max_payload_bytes)

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

    async def _read_topic(
        self, rows: Rows, query: Query, topic: str, encode: Callable[[EventColumns], Encoded]
    ) -> Page[Encoded]:
        head: int = await fetch_value(rows, HEAD, (topic,)) or 0
        low, high = await _offsets(rows, query, topic, head)
        if low > high:
            return Page([], 0, None, head)
        scanned = range_ = OffsetRange(topic, low, high)
        ranges = [range_]
        if query.source is not None:
            scanned = RangeCursor(ranges, newest_first=query.newest_first).peek(SCAN_ROWS)[0]
            ranges = await self._fetch.matches(rows, [scanned], query.source)
        cursor = RangeCursor(_in_order(ranges, query), newest_first=query.newest_first)
        page = await self._fetch.page(rows, cursor, query, encode)
        following: Position | None = None
        if not cursor.at_end:
            following = page.last
        elif scanned != range_:
            seen = scanned.first if query.newest_first else scanned.last
            following = Position(0, topic, seen)
        return Page(page.parts, page.events, following, head)

    async def _read_across(
        self, rows: Rows, query: Query, encode: Callable[[EventColumns], Encoded]
    ) -> Page[Encoded]:
        wanted = query.limit + 1 if query.source is None else SCAN_ROWS + 1
        ranges = found = await _ranges_across(rows, query, wanted)
        scanned_to: Position | None = None
        if query.source is not None:
            scan = RangeCursor(found, newest_first=query.newest_first)
            ranges = list(scan.peek(SCAN_ROWS))
            if count_rows(found) > SCAN_ROWS:
                last = ranges[-1]
                seen = last.first if query.newest_first else last.last
                scanned_to = Position(last.ts_ingest_us, last.topic, seen)
            ranges = _in_order(
                await self._fetch.matches(rows, _in_order(ranges, query), query.source), query
            )
        cursor = RangeCursor(ranges, newest_first=query.newest_first)
        page = await self._fetch.page(rows, cursor, query, encode)
        following = scanned_to if cursor.at_end else page.last
        return Page(page.parts, page.events, following, None)


async def _offsets(rows: Rows, query: Query, topic: str, head: int) -> tuple[int, int]:
    """Find the first and the last offset that may be part of the pages of a query."""
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


async def _ranges_across(rows: Rows, query: Query, wanted: int) -> list[OffsetRange]:
    """Find the ranges behind the position of a query, in its order.

    Args:
        rows: runs statements.
        query: says where they begin and end.
        wanted: how many rows they are to have, if there are so many.
    """
    # No event has the topic "" or the offset 0, so these places are before and behind all others.
    since_us = MIN_TIME_US if query.since_us is None else query.since_us
    until_us = MAX_TIME_US if query.until_us is None else query.until_us
    if query.newest_first:
        sql, place, bound = RANGES_BEFORE, Position(until_us, "", 0), since_us
    else:
        sql, place, bound = RANGES_FROM, Position(since_us, "", 0), until_us
    place = query.position or place
    found: list[OffsetRange] = []
    size = _FIRST_RANGES
    while count_rows(found) < wanted:
        arguments = (place.ts_ingest_us, place.topic, place.offset, bound, size)
        part = [OffsetRange(*row) for row in await rows(sql, arguments)]
        found += [_behind(each, place, query) for each in part]
        if len(part) < size:
            break
        last = part[-1]
        seen = last.first if query.newest_first else last.last
        place = Position(last.ts_ingest_us, last.topic, seen)
        size = _MORE_RANGES
    return found


def _behind(found: OffsetRange, place: Position, query: Query) -> OffsetRange:
    """Cut off a range what is before a place within it."""
    if (found.ts_ingest_us, found.topic) != (place.ts_ingest_us, place.topic):
        return found
    if query.newest_first:
        return found._replace(last=min(found.last, place.offset - 1))
    return found._replace(first=max(found.first, place.offset + 1))


def _in_order(ranges: Sequence[OffsetRange], query: Query) -> list[OffsetRange]:
    """Put ascending ranges into the order of a query, or the other way round."""
    return list(ranges[::-1] if query.newest_first else ranges)
