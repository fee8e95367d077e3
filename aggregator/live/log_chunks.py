"""Chunks of the log: consecutive events of a topic, read and encoded once for all streams.

A chunk ends where the log ended when it was read, or at the next multiple of `_GRID`, so streams
that began at different places come to the same chunks. What was read lately is kept, within a bound
in bytes; a chunk never changes, and one that is read again begins with the same bytes.
"""

import asyncio
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from itertools import accumulate, count
from operator import add

from aggregator.live.pieces import Pieces
from aggregator.reading.bounded_read import EXPECTED_PAYLOAD_BYTES
from aggregator.reading.read_memory import ReadMemory
from aggregator.wire.event_encoding import encode_blocks, encode_lines
from storage.errors import PayloadOverLimit
from storage.model import EventColumns, Query
from storage.protocols import EventReader
from storage.reading.page_fetch import page_memory_bytes

_GRID = 2048
"""Events of a chunk at most."""

_CHUNK_BYTES = 512 * 1024
"""A chunk ends after the event that takes its payloads to this many bytes."""

_READS = 2
"""Reads at once, of either kind: other reads, and what a store has of connections, are not kept
from anybody, and who has much to read up on keeps nobody else behind the head."""

_NONE = Pieces(b"", b"\n"), 0

_MARK = b'Z","source":"'
"""What is ahead of an event's source. Ahead of that it can't be: quotes in names are escaped."""


class Form(Enum):
    """A form in which a stream gives events."""

    BLOCKS = b"\n\n"
    """Blocks of an event stream; the value is what ends an event."""
    LINES = b"\n"
    """NDJSON."""

    @property
    def encode(self) -> Callable[[EventColumns], bytes]:
        """The encoder of events in this form."""
        return encode_blocks if self is Form.BLOCKS else encode_lines


class LogChunk:
    """Consecutive events of a topic in one form.

    Args:
        after: the offset ahead of its first event.
        last: the offset of its last event; `after` if it has none.
        head: the head offset of the topic when it was read.
        data: the events.
        form: their form.
    """

    __slots__ = ("_by_source", "_ends", "_form", "after", "head", "last", "pieces")

    def __init__(self, after: int, last: int, head: int, data: bytes, form: Form) -> None:
        self.after = after
        self.last = last
        self.head = head
        self.pieces = Pieces(data, form.value)
        """Its events."""
        self._form = form
        self._by_source: dict[bytes, tuple[Pieces, int]] | None = None
        self._ends: array[int] | None = None

    @property
    def count(self) -> int:
        """Number of its events."""
        return self.last - self.after

    def events(self, source: bytes | None) -> tuple[Pieces, int]:
        """Return its events, or those of one source, and their number.

        Args:
            source: as it is encoded, without its quotes; None: all events.
        """
        if source is None:
            return self.pieces, self.count
        if self._by_source is None:
            self._by_source = self._sort()
        return self._by_source.get(source, _NONE)

    def part(self, first: int, last: int) -> bytes:
        """Return some of its events, each with what ends it.

        Args:
            first: the lowest offset, above `after`.
            last: the highest, not above that of the chunk.
        """
        ends = self._event_ends()
        return self.pieces.part(ends[first - self.after - 1], ends[last - self.after])

    def last_within(self, first: int, last: int, max_bytes: int) -> int:
        """Return the offset of the event that takes the bytes from an offset on to a number.

        Args:
            first: the lowest offset, above `after`.
            last: the highest, which is returned if the events up to it have no more bytes.
            max_bytes: the number.
        """
        ends = self._event_ends()
        most = ends[first - self.after - 1] + max_bytes
        return min(last, self.after + bisect_left(ends, most, first - self.after))

    def _event_ends(self) -> "array[int]":
        if self._ends is None:
            end = self._form.value
            events = bytes(self.pieces).split(end)[:-1]
            sizes = accumulate(map(len, events))
            self._ends = array("Q", [0, *map(add, sizes, count(len(end), len(end)))])
        return self._ends

    def count_to(self, source: bytes | None, given: int) -> int:
        """Count the events among the first bytes of its events, or of those of one source."""
        return bytes(self.events(source)[0]).count(self._form.value, 0, given)

    def _sort(self) -> dict[bytes, tuple[Pieces, int]]:
        end = self._form.value
        by_source: dict[bytes, list[bytes]] = {}
        for event in bytes(self.pieces).split(end)[:-1]:
            start = event.index(_MARK) + len(_MARK)
            # A quote of the source itself has a backslash ahead of it.
            source = event[start : event.index(b'","payload":', start)]
            by_source.setdefault(source, []).append(event)
        return {
            source: (Pieces(end.join([*events, b""]), end), len(events))
            for source, events in by_source.items()
        }


class LogChunks:
    """Reads chunks of the log, each once for all who want it, and keeps the latest.

    Args:
        store: what is read.
        memory: the memory of reads.
        max_bytes: bytes that are kept.
    """

    def __init__(self, store: EventReader, memory: ReadMemory, max_bytes: int) -> None:
        self._store = store
        self._memory = memory
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[Form, str, int], LogChunk] = OrderedDict()
        self.bytes = 0
        """Bytes that are kept."""
        self._reads: dict[tuple[Form, str, int], asyncio.Task[LogChunk]] = {}
        self._tasks: set[asyncio.Task[LogChunk]] = set()
        self._turns = asyncio.Semaphore(_READS)
        self._turns_at_head = asyncio.Semaphore(_READS)

    def kept(self, form: Form, topic: str, after: int) -> LogChunk | None:
        """Return the chunk behind an offset, if it is there without a read."""
        chunk = self._kept.get((form, topic, after))
        if chunk is not None:
            self._kept.move_to_end((form, topic, after))
        return chunk

    async def chunk(self, form: Form, topic: str, after: int, *, at_head: bool = False) -> LogChunk:
        """Read the chunk behind an offset, or take it from those that are kept.

        Args:
            form: of its events.
            topic: theirs.
            after: the offset.
            at_head: the newest events are wanted, for who waits for them.

        Raises:
            StorageError: the store failed.
        """
        kept = self.kept(form, topic, after)
        if kept is not None:
            return kept
        # Who gives up must not take it from the others.
        return await asyncio.shield(self.begin(form, topic, after, at_head=at_head))

    def begin(
        self, form: Form, topic: str, after: int, *, at_head: bool = False
    ) -> "asyncio.Task[LogChunk]":
        """Begin to read a chunk that is not kept, unless that has begun. See `chunk`."""
        key = form, topic, after
        task = self._reads.get(key)
        if task is None:
            turns = self._turns_at_head if at_head else self._turns
            task = asyncio.create_task(self._read(key, turns), name="log-chunk")
            self._reads[key] = task
            task.add_done_callback(self._read_ended)
            self._tasks.add(task)
        return task

    def read_ahead(self, form: Form, topic: str, after: int, head: int) -> None:
        """Begin to read the chunks behind an offset for who wants them next, if few reads go on.

        Two of them, so that one is fetched while the other is encoded; but one, where chunks are
        ended by their bytes, and it is not known where the second begins.

        Args:
            form: of their events.
            topic: theirs.
            after: the last offset of a chunk, below the head.
            head: the head offset, as it is known.
        """
        self._begin_ahead(form, topic, after)
        if after % _GRID == 0 and after + _GRID < head:
            self._begin_ahead(form, topic, after + _GRID)

    def _begin_ahead(self, form: Form, topic: str, after: int) -> None:
        if (form, topic, after) not in self._kept and len(self._reads) < 2 * _READS:
            self.begin(form, topic, after)

    def forget(self, topic: str) -> None:
        """Keep nothing of a topic, nor what is being read of it: its log has changed."""
        for key in [key for key in self._kept if key[1] == topic]:
            self.bytes -= self._kept.pop(key).pieces.size
        for key in [key for key in self._reads if key[1] == topic]:
            del self._reads[key]

    async def aclose(self) -> None:
        """Give up the reads under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _read_ended(self, task: "asyncio.Task[LogChunk]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Nobody may be there any more to see a failure, and one that nobody fetches is logged.
            task.exception()

    async def _read(self, key: tuple[Form, str, int], turns: asyncio.Semaphore) -> LogChunk:
        form, topic, after = key
        size = EXPECTED_PAYLOAD_BYTES
        try:
            async with turns:
                while True:
                    try:
                        chunk = await self._read_within(form, topic, after, size)
                    except PayloadOverLimit as error:
                        size = error.payload_bytes
                    else:
                        break
        finally:
            wanted = self._reads.get(key) is asyncio.current_task()
            if wanted:
                del self._reads[key]
        if wanted:
            self._keep(key, chunk)
        return chunk

    async def _read_within(
        self, form: Form, topic: str, after: int, max_payload_bytes: int
    ) -> LogChunk:
        query = Query(
            topic=topic,
            after=after,
            newest_first=False,
            limit=_GRID - after % _GRID,
            max_bytes=_CHUNK_BYTES,
            max_payload_bytes=max_payload_bytes,
        )
        needed = page_memory_bytes(query.limit, query.max_bytes, max_payload_bytes)
        async with self._memory.reserve(needed, patient=True):
            page = await self._store.read(query, form.encode)
            data = page.parts[0] if len(page.parts) == 1 else b"".join(page.parts)
        return LogChunk(after, after + page.count, page.head or 0, data, form)

    def _keep(self, key: tuple[Form, str, int], chunk: LogChunk) -> None:
        if not 0 < chunk.pieces.size <= self._max_bytes:
            return
        if (former := self._kept.pop(key, None)) is not None:
            self.bytes -= former.pieces.size
        self._kept[key] = chunk
        self.bytes += chunk.pieces.size
        while self.bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= oldest.pieces.size
