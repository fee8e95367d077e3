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

from storage.model import (
    INT64_MAX,
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
from storage.reading.offset_search import first_offset_at, head_offset, offset_bounds
from storage.reading.page_fetch import PageFetch
from storage.reading.statements import ReadingSql, RowDecoder, Rows

SCAN_ROWS = 10_000
"""Maximum number of rows that a page scans for a filter that no index serves."""

_FIRST_SCAN_ROWS = 1024
"""Rows scanned at first, where a filter may find enough early; then twice as many, and so on."""

_FIRST_RANGES, _MORE_RANGES = 64, 1024
"""How many ranges are fetched at a time: few, where an append stores many events."""

HEADS = "SELECT topic, unique_processed FROM topics WHERE topic IN ({names})"

# Names are ASCII, compared byte for byte: no name of the prefix is as large as what bounds it.
HEADS_BY_PREFIX = """
SELECT topic, unique_processed FROM topics
WHERE topic {behind} $1 AND topic < $2 AND unique_processed > 0 ORDER BY topic LIMIT $3"""

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

    async def heads_by_prefix(
        self, prefix: str, *, after: str | None = None, limit: int = TOPICS_PER_PAGE
    ) -> Mapping[str, int]:
        """See `EventReader.heads_by_prefix`."""
        sql = HEADS_BY_PREFIX.format(behind=">=" if after is None else ">")
        arguments = (prefix if after is None else after, f"{prefix}\x7f", limit)
        async with self._reader() as rows:
            found = await rows(sql, arguments)
        return {topic: head for topic, head in found}  # noqa: C416 - a row of the driver is no pair

    async def first_offset(self, topic: str, time_us: int) -> int:
        """See `EventReader.first_offset`."""
        async with self._reader() as rows:
            return await first_offset_at(rows, topic, time_us, await head_offset(rows, topic))

    async def offsets_of_source(
        self, topic: str, source: str, first: int, last: int
    ) -> Sequence[tuple[int, int]]:
        """See `EventReader.offsets_of_source`."""
        async with self._reader() as rows:
            found = await self._fetch.matches(rows, [OffsetRange(topic, first, last)], source)
        return [(each.first, each.last) for each in found]

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
        fetched: list[EventColumns] = []
        if (after := _offset_before(query)) is not None:
            head, first = await self._fetch.head_and_chunk(rows, topic, after, query)
            low, high = after + 1, head
            # In a list that is emptied: a name here would hold the rows until the page is read.
            fetched.append(first)
            del first
        else:
            head = await head_offset(rows, topic)
            low, high = await offset_bounds(rows, query, topic, head)
        if low > high:
            return Page([], 0, None, head)
        cursor = RangeCursor([OffsetRange(topic, low, high)], newest_first=query.newest_first)
        return await self._page(rows, cursor, query, encode, head, fetched)

    async def _page(
        self,
        rows: Rows,
        cursor: RangeCursor,
        query: Query,
        encode: Callable[[EventColumns], Encoded],
        head: int | None = None,
        fetched: list[EventColumns] | None = None,
    ) -> Page[Encoded]:
        """Read a page from ranges; `head` is passed on, `fetched` may have the first rows."""
        scanned_to: Position | None = None
        if query.source is not None:
            cursor, scanned_to = await self._filtered(rows, cursor, query, query.source)
        page = await self._fetch.page(rows, cursor, query, encode, fetched or [])
        following = page.last if await cursor.fill(1) else scanned_to
        return Page(page.parts, page.events, following, head)

    async def _filtered(
        self, rows: Rows, cursor: RangeCursor, query: Query, source: str
    ) -> tuple[RangeCursor, Position | None]:
        """Scan ranges for the events of a source, until there are enough for a page.

        Returns:
            The ranges of these events, and the last row that was scanned; None if that was the
            last row of all.
        """
        found: list[OffsetRange] = []
        scanned = matched = 0
        window = _FIRST_SCAN_ROWS
        last: OffsetRange | None = None
        while (
            scanned < SCAN_ROWS
            and matched <= query.limit
            and (wanted := await cursor.fill(min(window, SCAN_ROWS - scanned)))
        ):
            ranges = cursor.peek(wanted)
            matches = await self._fetch.matches(rows, _in_order(ranges, query), source)
            found += _in_order(matches, query)
            matched += count_rows(matches)
            cursor.advance(wanted)
            scanned += wanted
            window *= 2
            last = ranges[-1]
        scanned_to = _end(last, query) if last is not None and await cursor.fill(1) else None
        return RangeCursor(found, newest_first=query.newest_first), scanned_to

    async def _read_across(
        self, rows: Rows, query: Query, encode: Callable[[EventColumns], Encoded]
    ) -> Page[Encoded]:
        ranges = _RangesAcross(rows, query)
        cursor = RangeCursor([], newest_first=query.newest_first, load=ranges.load)
        return await self._page(rows, cursor, query, encode)


class _RangesAcross:
    """Loads the ranges of all topics behind the position of a query, in its order."""

    def __init__(self, rows: Rows, query: Query) -> None:
        self._rows = rows
        self._newest_first = query.newest_first
        # No event has the topic "" or the offset 0: these places are before or behind all others.
        since_us = MIN_TIME_US if query.since_us is None else query.since_us
        until_us = MAX_TIME_US if query.until_us is None else query.until_us
        if query.newest_first:
            self._sql, start_us, self._bound_us = RANGES_BEFORE, until_us, since_us
        else:
            self._sql, start_us, self._bound_us = RANGES_FROM, since_us, until_us
        self._place = query.position or Position(start_us, "", 0)
        self._size = _FIRST_RANGES

    async def load(self) -> Sequence[OffsetRange]:
        """Load the next ranges; none at the end."""
        place = self._place
        arguments = (place.ts_ingest_us, place.topic, place.offset, self._bound_us, self._size)
        found = [OffsetRange(*row) for row in await self._rows(self._sql, arguments)]
        self._size = _MORE_RANGES
        if not found:
            return found
        if (found[0].ts_ingest_us, found[0].topic) == (place.ts_ingest_us, place.topic):
            found[0] = self._behind(found[0], place)
        last = found[-1]
        seen = last.first if self._newest_first else last.last
        self._place = Position(last.ts_ingest_us, last.topic, seen)
        return found

    def _behind(self, found: OffsetRange, place: Position) -> OffsetRange:
        """Cut off a range what is before a place within it."""
        if self._newest_first:
            return found._replace(last=min(found.last, place.offset - 1))
        return found._replace(first=max(found.first, place.offset + 1))


def _offset_before(query: Query) -> int | None:
    """Return the offset that a page begins behind, whatever the log has; None if it depends."""
    times = query.since_us, query.until_us
    if query.newest_first or query.source is not None or times != (None, None):
        return None
    after = query.after if query.position is None else max(query.after, query.position.offset)
    return after if after < INT64_MAX else None


def _end(last: OffsetRange, query: Query) -> Position:
    """Return the place of the last row of a range, as it is read."""
    seen = last.first if query.newest_first else last.last
    return Position(last.ts_ingest_us, last.topic, seen)


def _in_order(ranges: Sequence[OffsetRange], query: Query) -> list[OffsetRange]:
    """Put ascending ranges into the order of a query, or the other way round."""
    return list(ranges[::-1] if query.newest_first else ranges)
