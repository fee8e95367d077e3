"""A stream of events as lines, read from the log page by page as its reader takes it.

What has been read and not been taken can be dropped at any time, and is read again when its turn
comes: the log does not change, so the bytes are the same.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from aggregator.reading.bounded_read import EXPECTED_PAYLOAD_BYTES
from aggregator.reading.read_memory import ReadMemory
from aggregator.reading.stream_limit import StreamLimit
from aggregator.wire.event_encoding import encode_lines
from storage.errors import PayloadOverLimit
from storage.model import MAX_TIME_US, EventColumns, Page, Position, Query
from storage.protocols import EventReader
from storage.reading.page_fetch import event_memory_bytes, page_memory_bytes

PIECE_BYTES = 512 * 1024
"""Largest piece that is given out at a time. Few large ones: each costs a turn of the event loop,
and smaller ones took a third more of processor time."""

_EVENT_BYTES = 256
"""A page has as many events as if each had so many bytes."""


class _Part(NamedTuple):
    """Consecutive events as lines, and the place of the last of them."""

    lines: bytes
    events: int
    last: Position


class EventStream:
    """Reads events as lines, to the heads of the log as they are when it begins.

    At most one page is read ahead of the one that is being taken.

    Args:
        store: what is read.
        query: which events; its limit is that of the whole stream.
        limit: the number of streams, of which this is one until it is closed.
        memory: the memory of reads.
    """

    def __init__(
        self, store: EventReader, query: Query, limit: StreamLimit, memory: ReadMemory
    ) -> None:
        self.head: int | None = None
        """Head offset of the topic when the stream began; None of a stream across topics."""
        self.events = 0
        """Number of events that were given out."""
        self.held = 0
        """Bytes that were read and not been taken."""
        self.on_held: Callable[[int], object] = lambda _held: None
        """Called with the bytes held whenever they change."""
        self._store = store
        self._query = query
        self._limit = limit
        self._memory = memory
        self._end: Position | None = None
        self._left = query.limit
        self._finished = False
        self._max_payload_bytes = EXPECTED_PAYLOAD_BYTES
        self._patient = False
        self._parts: deque[_Part] = deque()
        self._page_bytes = 0
        """Bytes of the last page."""
        self._taken = query.position
        """The place of the last event of the last part that was taken as a whole."""
        self._given = 0
        """Bytes behind that place that were given out."""
        self._out = 0
        """Bytes of the last piece."""
        self._drops = 0
        self._reading: asyncio.Task[None] | None = None
        self._at_store = False
        self._closed = False

    async def open(self) -> None:
        """Find where the stream ends, and read its first page.

        Raises:
            QueueFull: too many answers are streamed, or there was no memory to be had.
            StorageError: the store failed.
        """
        self._limit.begin()
        try:
            if self._query.topic is None:
                last = await self._last_place()
                if last is None:
                    self._finished = True
                    return
                self._bound(last)
            await self._read()
            if self._query.topic is not None:
                self._bound(Position(MAX_TIME_US, self._query.topic, self.head or 0))
            # An answer that has begun has no other way to say that it must wait.
            self._patient = True
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop what is held, and end what is under way. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._limit.end()
        if self._reading is not None and not self._at_store:
            # At the store it ends soon, and a connection would be lost with it.
            self._reading.cancel()
        self._parts.clear()
        self._set_held(0)

    async def piece(self) -> bytes | None:
        """Return the next piece, of at most `PIECE_BYTES`; None at the end.

        Whatever was returned before counts as taken.

        Raises:
            StorageError: the store failed.
        """
        self._forget_taken()
        while not self._parts:
            if self._finished:
                return None
            await asyncio.shield(self._begin_read())
            # Of what had to be read again, a part may have been taken before.
            self._forget_taken()
        if not self._finished and self.held <= self._page_bytes:
            self._begin_read()
        lines = self._parts[0].lines
        piece = lines[self._given : self._given + PIECE_BYTES]
        self._given += len(piece)
        self._out = len(piece)
        return piece

    def drop(self) -> None:
        """Drop what is held but for the piece that is on its way; it is read again."""
        if not self._parts:
            return
        self._left += sum(part.events for part in self._parts)
        self._query = replace(self._query, position=self._taken)
        self._finished = False
        self._parts.clear()
        self._drops += 1
        self._set_held(self._out)

    def _forget_taken(self) -> None:
        while self._parts and self._given >= len(self._parts[0].lines):
            part = self._parts.popleft()
            self._given -= len(part.lines)
            self._taken = part.last
            self.events += part.events
            self._limit.events += part.events
        self._set_held(sum(len(part.lines) for part in self._parts))

    def _set_held(self, held: int) -> None:
        if held != self.held:
            self.held = held
            self.on_held(held)

    def _begin_read(self) -> "asyncio.Task[None]":
        if self._reading is None or (self._reading.done() and not self._reading.exception()):
            self._reading = asyncio.create_task(self._read(), name="event-stream")
            # Nobody may come back for it, and an exception that nobody fetches is logged.
            self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._reading

    async def _read(self) -> None:
        """Read the next page, in its turn and within the memory of reads."""
        async with self._limit.turn(patient=self._patient):
            while True:
                query = self._next_query()
                size = page_memory_bytes(query.limit, query.max_bytes, query.max_payload_bytes)
                async with self._memory.reserve(size, patient=self._patient):
                    drops, self._at_store = self._drops, True
                    try:
                        page = await self._store.read(query, self._encode)
                    except PayloadOverLimit as error:
                        self._max_payload_bytes = error.payload_bytes
                        continue
                    finally:
                        self._at_store = False
                    if drops == self._drops:
                        self._add(page)
                    return

    def _next_query(self) -> Query:
        page_bytes = self._limit.page_bytes
        return replace(
            self._query,
            limit=min(self._left, page_bytes // _EVENT_BYTES),
            max_bytes=page_bytes,
            max_payload_bytes=self._max_payload_bytes,
        )

    def _encode(self, columns: EventColumns) -> _Part | None:
        """Encode the events that the stream is to have; None if there is none of them here."""
        count = self._count_to_end(columns)
        if not count:
            return None
        if count < len(columns.offsets):
            columns = columns.part(0, count)
        return _Part(encode_lines(columns), count, _place(columns, -1))

    def _count_to_end(self, columns: EventColumns) -> int:
        """Count the events that are not behind the end; in descending order none is."""
        count = len(columns.offsets)
        if self._query.newest_first or self._end is None:
            # The first page of a topic was read with the head.
            return count
        end = self._key(self._end)
        if self._key(_place(columns, -1)) <= end:
            return count
        return bisect_right(range(count), end, key=lambda i: self._key(_place(columns, i)))

    def _add(self, page: Page[_Part | None]) -> None:
        if self._closed:
            return
        if self.head is None:
            self.head = page.head
        parts = [part for part in page.parts if part is not None]
        count = sum(part.events for part in parts)
        self._left -= count
        following = page.next
        self._finished = (
            following is None
            or count < page.count
            or not self._left
            or (self._end is not None and self._key(following) >= self._key(self._end))
        )
        self._query = replace(self._query, position=following or self._query.position)
        self._page_bytes = sum(len(part.lines) for part in parts)
        self._parts += parts
        self._set_held(self.held + self._page_bytes)

    def _bound(self, last: Position) -> None:
        """Have the stream hold nothing behind a place, whatever is stored from now on."""
        if not self._query.newest_first:
            self._end = last
            return
        first = replace(last, offset=last.offset + 1)
        until_us = self._query.until_us
        if self._query.topic is None and until_us is not None and until_us <= last.ts_ingest_us:
            # It begins before that place in any case.
            return
        self._taken = first
        self._query = replace(self._query, position=self._query.position or first)

    def _key(self, place: Position) -> tuple[int, str, int]:
        """Return what the places of this stream are ordered by; names of topics are ASCII."""
        if self._query.topic is not None:
            return 0, "", place.offset
        return place.ts_ingest_us, place.topic, place.offset

    async def _last_place(self) -> Position | None:
        """Return the place of the newest event of all topics; None if there is none."""
        while True:
            size = event_memory_bytes(self._max_payload_bytes)
            newest = Query(limit=1, max_payload_bytes=self._max_payload_bytes)
            async with self._limit.turn(patient=False), self._memory.reserve(size):
                try:
                    page = await self._store.read(newest, lambda columns: _place(columns, 0))
                except PayloadOverLimit as error:
                    self._max_payload_bytes = error.payload_bytes
                    continue
                return page.parts[0] if page.parts else None


def _place(columns: EventColumns, index: int) -> Position:
    return Position(
        columns.ts_ingest_us[index], columns.topics[index].decode(), columns.offsets[index]
    )
