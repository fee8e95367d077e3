"""Segments of topics and their bitmaps, which say what is done; no database is needed for that."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from subscriber.checkpoints.errors import CheckpointDamaged
from subscriber.events import Event

SEGMENT_OFFSETS = 4096
"""Offsets of a segment; a multiple of 8."""
BITMAP_BYTES = SEGMENT_OFFSETS // 8
NOTHING_DONE = bytes(BITMAP_BYTES)
"""The bitmap of a segment of which nothing is done."""


class HandedOut(Protocol):
    """A delivery, as checkpoints use it: `Delivery` and `BlockingDelivery` are some."""

    @property
    def topic(self) -> str:
        """The topic of the event."""

    @property
    def offset(self) -> int:
        """The offset of the event."""

    @property
    def event(self) -> Event:
        """The event."""

    def before_ack(self, check: Callable[[], None]) -> None:
        """Have a check called before the event is acknowledged."""


class Segment(NamedTuple):
    """A segment: 4,096 offsets of a topic, of which one row tells what is done.

    Args:
        topic: the name of the topic.
        number: the offsets from `number * 4096` on are its offsets.
    """

    topic: str
    number: int


class Change(NamedTuple):
    """A segment of which more is done than before.

    Args:
        segment: the segment.
        done: its new bitmap, 512 bytes. The lowest bit of the first byte is the lowest offset.
    """

    segment: Segment
    done: bytes


class Marked(NamedTuple):
    """What a batch makes of the bitmaps that were found.

    Args:
        fresh: the deliveries that were not done, in the order of the batch, each event once.
        changes: the segments that these deliveries change.
    """

    fresh: list[HandedOut]
    changes: list[Change]


def segments_of(deliveries: Sequence[HandedOut]) -> list[Segment]:
    """Return the segments of deliveries, sorted.

    The order is the same in every process, so that none of them waits for the other in a circle.
    """
    keys = {(each.topic, each.offset // SEGMENT_OFFSETS) for each in deliveries}
    return [Segment(*key) for key in sorted(keys)]


def mark(
    deliveries: Sequence[HandedOut], segments: Sequence[Segment], found: Sequence[bytes]
) -> Marked:
    """Mark deliveries as done.

    Args:
        deliveries: of a batch.
        segments: of these deliveries.
        found: the bitmap of each segment as it is now.

    Raises:
        CheckpointDamaged: a bitmap has another length than 512 bytes.
    """
    bitmaps: dict[tuple[str, int], bytearray] = {}
    for segment, done in zip(segments, found, strict=True):
        if len(done) != BITMAP_BYTES:
            raise CheckpointDamaged(
                f"the row of segment {segment.number} of {segment.topic!r} in"
                f" subscriber_checkpoints has {len(done)} bytes instead of {BITMAP_BYTES}"
            )
        bitmaps[segment] = bytearray(done)
    fresh = []
    for delivery in deliveries:
        number, place = divmod(delivery.offset, SEGMENT_OFFSETS)
        bitmap = bitmaps[delivery.topic, number]
        bit = 1 << (place & 7)
        if not bitmap[place >> 3] & bit:
            bitmap[place >> 3] |= bit
            fresh.append(delivery)
    changes = [
        Change(segment, bytes(bitmaps[segment]))
        for segment, done in zip(segments, found, strict=True)
        if bitmaps[segment] != done
    ]
    return Marked(fresh, changes)
