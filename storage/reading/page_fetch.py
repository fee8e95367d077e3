"""Fetching of a page in chunks of rows that are bounded in bytes before they are fetched.

How large a row is shows only when it is there, and then it is too late: a thousand rows may be a
few kilobytes or a gigabyte. So a statement gives the payload only of rows whose payload is small
enough for the whole chunk to stay within its bytes, and an empty one for the others, which are
fetched one at a time. How many rows the next chunk has follows from the bytes of the last one.
"""

from collections.abc import Callable, Sequence
from itertools import chain, groupby, repeat
from operator import itemgetter
from typing import Any, NamedTuple

from storage.errors import PayloadOverLimit, StorageError
from storage.model import INT64_MAX, Encoded, EventColumns, Position, Query
from storage.reading.chunk_hints import ChunkHints
from storage.reading.offset_ranges import OffsetRange, RangeCursor, consecutive, count_rows
from storage.reading.statements import ReadingSql, RowDecoder, Rows, fetch_value

MAX_CHUNK_BYTES = 2 * 2**20
"""Maximum payload bytes of one chunk, unless it is one row."""

MAX_CHUNK_ROWS = 1024
_MAX_SIZE_RATIO = 4
"""A row is fetched with its chunk if it is at most so many times as large as those before."""

_MAX_SINGLE_FETCHES = 8
"""After so many payloads fetched one at a time the next chunk is made for their size."""

MAX_NAMES_BYTES = 2 * 2**20
"""A page ends after the chunk that takes what it holds beside payloads to this many bytes."""

_EVENT_BYTES = 200
"""What an encoded event has beside its payload, its id and its source."""

_MAX_NAMES_BYTES_PER_ROW = 2048
"""Two names of 256 characters of four bytes each."""

_COPIES = 4
"""What is under way is held by the driver, by its column, in pieces and encoded."""


def page_memory_bytes(events: int, max_bytes: int, max_payload_bytes: int) -> int:
    """Compute the maximum memory of reading and encoding a page, in bytes.

    Args:
        events: maximum number of events of the page.
        max_bytes: the payload bytes that end the page.
        max_payload_bytes: the largest payload that is fetched.
    """
    chunk_rows = min(events, MAX_CHUNK_ROWS)
    chunk_bytes = MAX_CHUNK_BYTES + chunk_rows * (_MAX_NAMES_BYTES_PER_ROW + _EVENT_BYTES)
    under_way = max(chunk_bytes, MAX_CHUNK_BYTES + max_payload_bytes)
    return max_bytes + MAX_NAMES_BYTES + _COPIES * under_way


def event_memory_bytes(max_payload_bytes: int) -> int:
    """Compute the maximum memory of reading and encoding one event, in bytes."""
    return _COPIES * (max_payload_bytes + _MAX_NAMES_BYTES_PER_ROW + _EVENT_BYTES)


class FetchedPage(NamedTuple):
    """The parts of a page, the number of its events, and the place of the last of them."""

    parts: list[Any]
    events: int
    last: Position | None


class PageFetch:
    """Fetches the events of ranges from a backend.

    Args:
        sql: the backend's statements.
        decoder: the conversions of their values.
    """

    def __init__(self, sql: ReadingSql, decoder: RowDecoder) -> None:
        self.sql = sql
        self.decoder = decoder
        self._hints = ChunkHints()

    async def head_and_chunk(
        self, rows: Rows, topic: str, after: int, query: Query
    ) -> tuple[int, EventColumns]:
        """Fetch the head offset of a topic and the first chunk behind an offset, in one step.

        Args:
            rows: runs statements.
            topic: the topic.
            after: the offset.
            query: says how many events and how large a payload.

        Raises:
            StorageError: a row is missing.
        """
        first = after + 1
        last = min(after + min(self._hints.rows(topic), query.limit), INT64_MAX)
        max_bytes = min(MAX_CHUNK_BYTES // (last - after), query.max_payload_bytes)
        found = await rows(self.sql.head_and_columns, (topic, first, last, max_bytes))
        head = found[0][0] or 0
        columns = self.decoder.columns(found[0][1:])
        if head <= after:
            return head, columns.part(0, 0)
        there = OffsetRange(topic, first, min(last, head))
        return head, _checked(columns.part(0, there.rows), [there])

    async def page(
        self,
        rows: Rows,
        cursor: RangeCursor,
        query: Query,
        encode: Callable[[EventColumns], Encoded],
        fetched: list[EventColumns],
    ) -> FetchedPage:
        """Fetch rows until the page is full or no row is left.

        Args:
            rows: runs statements.
            cursor: the rows; it is left behind the last event of the page.
            query: says how many events, how many bytes and how large a payload.
            encode: encodes what is fetched.
            fetched: the first rows, if they were fetched; it is emptied.

        Raises:
            PayloadOverLimit: the payload of the first row is larger than the query allows.
            StorageError: a row of a range is missing.
        """
        parts: list[Any] = []
        count = size = names_bytes = 0
        last: Position | None = None
        chunk_rows = self._hints.rows(query.topic)
        while (
            count < query.limit
            and size < query.max_bytes
            and names_bytes < MAX_NAMES_BYTES
            and (wanted := await cursor.fill(min(chunk_rows, query.limit - count)))
        ):
            if fetched:
                columns = fetched.pop()
            else:
                columns = await self._chunk(rows, cursor.peek(wanted), query)
            try:
                complete = await self._complete(rows, columns, query, size)
            except PayloadOverLimit:
                if not count:
                    raise
                break
            if complete < len(columns.offsets):
                columns = columns.part(0, complete)
            parts.append(encode(columns))
            cursor.advance(complete)
            count += complete
            chunk_bytes = sum(map(len, columns.payloads))
            size += chunk_bytes
            names_bytes += _names_bytes(columns)
            last = Position(
                columns.ts_ingest_us[-1], columns.topics[-1].decode(), columns.offsets[-1]
            )
            fitting = MAX_CHUNK_BYTES * complete // (_MAX_SIZE_RATIO * chunk_bytes)
            chunk_rows = max(1, min(MAX_CHUNK_ROWS, fitting))
            self._hints.keep(query.topic, chunk_rows)
        return FetchedPage(parts, count, last)

    async def event(
        self, rows: Rows, topic: str, event_id: str, max_payload_bytes: int
    ) -> EventColumns | None:
        """Fetch the event with a dedup key; None if there is none.

        Raises:
            PayloadOverLimit: its payload is larger than `max_payload_bytes`.
        """
        # As in a chunk: a database holds what it joins several times.
        max_bytes = min(max_payload_bytes, MAX_CHUNK_BYTES)
        found = await rows(self.sql.event, (topic, event_id, max_bytes))
        columns = self.decoder.columns(found[0])
        if not columns.offsets:
            return None
        columns = columns._replace(topics=[topic.encode()])
        if not columns.payloads[0]:
            columns.payloads[0] = await self._payload(
                rows, topic, columns.offsets[0], max_payload_bytes
            )
        return columns

    async def matches(
        self, rows: Rows, ranges: Sequence[OffsetRange], source: str
    ) -> list[OffsetRange]:
        """Find the events of a source.

        Args:
            rows: runs statements.
            ranges: where to look, in ascending order.
            source: of the events.

        Returns:
            The ranges of consecutive events of the source, in ascending order.
        """
        arguments = (*self.decoder.range_arguments(ranges), source)
        numbers, offsets = self.decoder.matches((await rows(self.sql.matches, arguments))[0])
        found: list[OffsetRange] = []
        places = iter(zip(numbers, offsets, strict=True))
        for number, group in groupby(places, key=itemgetter(0)):
            found += consecutive(ranges[number], [offset for _, offset in group])
        return found

    async def _chunk(self, rows: Rows, ranges: Sequence[OffsetRange], query: Query) -> EventColumns:
        """Fetch the rows of ranges in the order of the query; large payloads are left empty."""
        max_bytes = min(MAX_CHUNK_BYTES // count_rows(ranges), query.max_payload_bytes)
        # In ascending order whatever is read: what comes is compared with what must.
        ascending = ranges[::-1] if query.newest_first else ranges
        if len(ranges) == 1:
            ((topic, first, last, _),) = ranges
            found = await rows(self.sql.columns, (topic, first, last, max_bytes))
        else:
            arguments = (*self.decoder.range_arguments(ascending), max_bytes)
            found = await rows(self.sql.columns_of_ranges, arguments)
        columns = _checked(self.decoder.columns(found[0]), ascending)
        return columns.reversed() if query.newest_first else columns

    async def _complete(
        self, rows: Rows, columns: EventColumns, query: Query, page_bytes: int
    ) -> int:
        """Fetch the payloads that a chunk lacks, one at a time, as long as the page has room.

        Args:
            rows: runs statements.
            columns: the chunk; payloads are added.
            query: says how large the page and a payload may be.
            page_bytes: payload bytes of the page so far.

        Returns:
            How many events of the chunk are complete and part of the page, at least 1.

        Raises:
            PayloadOverLimit: the payload of the first event is larger than the query allows.
        """
        topics, offsets, *_, payloads = columns
        if all(payloads) and page_bytes + sum(map(len, payloads)) < query.max_bytes:
            return len(payloads)
        fetched_singly = 0
        size = page_bytes
        full = min(query.max_bytes, page_bytes + MAX_CHUNK_BYTES)
        for index, payload in enumerate(payloads):
            if size >= full and index:
                return index
            if not payload:
                if fetched_singly == _MAX_SINGLE_FETCHES:
                    return index
                fetched_singly += 1
                try:
                    payloads[index] = await self._payload(
                        rows, topics[index].decode(), offsets[index], query.max_payload_bytes
                    )
                except PayloadOverLimit:
                    if not index:
                        raise
                    return index
            size += len(payloads[index])
        return len(payloads)

    async def _payload(self, rows: Rows, topic: str, offset: int, max_payload_bytes: int) -> bytes:
        value: bytes | None = await fetch_value(
            rows, self.sql.payload, (topic, offset, max_payload_bytes)
        )
        if value is None:
            size = await fetch_value(rows, self.sql.payload_bytes, (topic, offset))
            raise PayloadOverLimit(size)
        return value


def _checked(columns: EventColumns, ranges: Sequence[OffsetRange]) -> EventColumns:
    """Return rows with their topics.

    Args:
        columns: the rows, without.
        ranges: those that they must be of, in ascending order; each has rows.

    Raises:
        StorageError: a row is missing.
    """
    if columns.offsets != list(
        chain.from_iterable(range(each.first, each.last + 1) for each in ranges)
    ):
        raise StorageError(
            f"topic {ranges[0].topic!r} lacks an offset from {ranges[0].first} to {ranges[0].last}"
            if len(ranges) == 1
            else f"an event is missing of {len(ranges)} ranges of offsets from "
            f"{ranges[0]} to {ranges[-1]}"
        )
    topics = list(chain.from_iterable(repeat(each.topic.encode(), each.rows) for each in ranges))
    return columns._replace(topics=topics)


def _names_bytes(columns: EventColumns) -> int:
    names = (*columns.event_ids, *columns.sources)
    return _EVENT_BYTES * len(columns.offsets) + sum(map(len, names))
