"""Reads of the events that a lease hands out, and their form in its answer.

They come from the chunks that streams read as well: consecutive leases are parts of one chunk,
which is read and encoded once, and the next is read ahead.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from aggregator.live.log_chunks import Form, LogChunk, LogChunks
from storage.errors import StorageUnavailable
from storage.subscriptions.outcomes import Granted

LEASE_BYTES = 8 * 2**20
"""A lease ends after the event that takes its events to this many bytes."""

_MAX_TOPICS = 1024
"""Topics of which it is remembered where chunks begin."""

_MAX_BEGINNINGS = 64
"""Beginnings that are remembered of each."""


class ReadDeliveries(NamedTuple):
    """What was read of a lease.

    Args:
        granted: the ranges that were read, which may end before the lease.
        parts: the deliveries: JSON objects with commas between them. Between two parts there is a
            comma to be.
        size: bytes of their events.
    """

    granted: Sequence[Granted]
    parts: Sequence[bytes]
    size: int


class DeliveryReads:
    """Reads granted ranges.

    Args:
        chunks: the events are read through them.
    """

    def __init__(self, chunks: LogChunks) -> None:
        self._chunks = chunks
        self._beginnings: dict[str, list[int]] = {}
        """By topic, the offsets behind which chunks were read, ascending."""

    async def read(self, granted: Sequence[Granted]) -> ReadDeliveries:
        """Read ranges in order, up to the bytes that a lease may have.

        Args:
            granted: the ranges.

        Raises:
            StorageError: the store failed, or its log has not all of them any more.
            QueueFull: the memory for reads did not become free in time.
        """
        read: list[Granted] = []
        parts: list[bytes] = []
        size = 0
        for each in granted:
            first = each.first
            while first <= each.last and size < LEASE_BYTES:
                chunk = await self._chunk(each.topic, first)
                last = min(each.last, chunk.last)
                last = chunk.last_within(first, last, LEASE_BYTES - size)
                lines = chunk.part(first, last)
                size += len(lines)
                parts.append(_deliveries(lines, each.deliveries))
                read.append(Granted(each.topic, first, last, each.deliveries))
                first = last + 1
        return ReadDeliveries(read, parts, size)

    async def _chunk(self, topic: str, offset: int) -> LogChunk:
        """Return a chunk that has an offset."""
        beginnings = self._beginnings.get(topic, ())
        index = bisect_right(beginnings, offset - 1) - 1
        chunk = self._chunks.kept(Form.LINES, topic, beginnings[index]) if index >= 0 else None
        if chunk is None or chunk.last < offset:
            self._remember(topic, offset - 1)
            chunk = await self._chunks.chunk(Form.LINES, topic, offset - 1)
        if chunk.last < offset:
            raise StorageUnavailable(
                f"the log has no offset {offset} of the topic {topic!r}, its head is "
                f"{chunk.head}: it was put back to an earlier state"
            )
        if chunk.last < chunk.head:
            self._remember(topic, chunk.last)
            self._chunks.read_ahead(Form.LINES, topic, chunk.last, chunk.head)
        return chunk

    def _remember(self, topic: str, after: int) -> None:
        if topic not in self._beginnings and len(self._beginnings) >= _MAX_TOPICS:
            self._beginnings.clear()
        beginnings = self._beginnings.setdefault(topic, [])
        index = bisect_right(beginnings, after)
        if index and beginnings[index - 1] == after:
            return
        beginnings.insert(index, after)
        if len(beginnings) > _MAX_BEGINNINGS:
            # Those far from here are least likely to be of use.
            del beginnings[0 if index > _MAX_BEGINNINGS // 2 else -1]


def _deliveries(lines: bytes, deliveries: int) -> bytes:
    """Make lines of events deliveries, with commas between them."""
    start = b'{"delivery":%d,"event":' % deliveries
    # No event has a line break within it.
    return start + lines[:-1].replace(b"\n", b"}," + start) + b"}"
