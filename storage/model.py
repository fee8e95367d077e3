"""The words of storage as types: events, verdicts, counts, queries and pages.

Times are whole microseconds since 1970-01-01T00:00:00Z (`_us`), so that no clock library
and no driver rounds them. A payload is the JSON text exactly as it was sent.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

import msgspec

INT64_MAX = 2**63 - 1
"""The largest offset both backends can hold."""

LARGEST_PAYLOAD_BYTES = 2**31 - 1
"""No payload is larger: neither backend can hold one."""

PAGE_BYTES = 8 * 2**20
"""A page ends after the event that takes its payloads to this many bytes."""

TOPICS_PER_PAGE = 1000
"""Topics that one answer lists the counts of."""

MIN_TIME_US = -62_135_596_800_000_000
MAX_TIME_US = 253_402_300_800_000_000
"""The years 1 to 9999: `MIN_TIME_US <= t < MAX_TIME_US` for every time here."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event as published, checked against the contract's rules.

    `(topic, event_id)` is the dedup key; `payload` is the text of a JSON object.
    """

    topic: str
    event_id: str
    timestamp_us: int
    source: str
    payload: str


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One event as stored: what was published, its offset (from 1) and when it was stored."""

    topic: str
    offset: int
    event_id: str
    timestamp_us: int
    ts_ingest_us: int
    source: str
    payload: str


class EventColumns(NamedTuple):
    """Events as read from the log, by column; what has the same index belongs to the same event.

    Columns, because a database hands over and a program converts a whole column in one go. Texts
    are UTF-8, a payload is its JSON text.
    """

    topics: list[bytes]
    offsets: list[int]
    event_ids: list[bytes]
    timestamps_us: list[int]
    ts_ingest_us: list[int]
    sources: list[bytes]
    payloads: list[bytes]

    def part(self, start: int, end: int) -> "EventColumns":
        """Return the events from one index up to another, which is not one of them."""
        return EventColumns(
            self.topics[start:end],
            self.offsets[start:end],
            self.event_ids[start:end],
            self.timestamps_us[start:end],
            self.ts_ingest_us[start:end],
            self.sources[start:end],
            self.payloads[start:end],
        )

    def reversed(self) -> "EventColumns":
        """Return the events in the opposite order."""
        return EventColumns(
            self.topics[::-1],
            self.offsets[::-1],
            self.event_ids[::-1],
            self.timestamps_us[::-1],
            self.ts_ingest_us[::-1],
            self.sources[::-1],
            self.payloads[::-1],
        )


class Status(StrEnum):
    """What became of an event: new, there already, or there already with other content."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one event; `offset` is that of the stored event, the original's for a repeat.

    A status per event, in the order sent, after TigerBeetle's `create_transfers`.
    """

    topic: str
    event_id: str
    status: Status
    offset: int


class Appended(NamedTuple):
    """The outcome of a committed append: a verdict per event, and the seconds that COMMIT took."""

    verdicts: list[Verdict]
    commit_s: float


class Counts(msgspec.Struct, frozen=True, gc=False):
    """The counts of one topic; `received == unique_processed + duplicate_dropped` always holds.

    `unique_processed` is the head offset as well: one number, so that they can't come apart.
    `conflicts` is the part of `duplicate_dropped` whose content differed.
    """

    received: int
    unique_processed: int
    duplicate_dropped: int
    conflicts: int


class Stats(msgspec.Struct, frozen=True):
    """Counts from one snapshot of the database.

    Args:
        totals: of all topics.
        topics_total: topics that have an event.
        topics: those asked for, by name in byte order.
        more: whether topics follow behind the last of these.
    """

    totals: Counts
    topics_total: int
    topics: dict[str, Counts]
    more: bool


class Pool(msgspec.Struct, frozen=True):
    """Connections of one purpose: those in use now, and how many there may be."""

    in_use: int
    max_connections: int


class Usage(msgspec.Struct, frozen=True):
    """What a store takes up: bytes of the database on disk, and connections by their purpose."""

    database_bytes: int
    pools: Mapping[str, Pool]


class Position(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A place in the log: that of the event last seen, or passed over by a filter."""

    ts_ingest_us: int
    topic: str
    offset: int


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A page to read.

    Args:
        topic: only this topic; None reads across topics, ordered by (ts_ingest, topic, offset).
        source: only events of this source.
        since_us, until_us: `since_us <= ts_ingest_us < until_us`.
        after: offsets greater than this; needs `topic`.
        newest_first: the order.
        limit: events at most, at least 1.
        position: go on behind this place, in the order asked for.
        max_bytes: the page ends after the event that takes its payloads to this many bytes.
        max_payload_bytes: no larger payload is fetched; a page ends before it, and one that would
            begin with it raises `PayloadOverLimit`.
    """

    topic: str | None = None
    source: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    after: int = 0
    newest_first: bool = True
    limit: int = 100
    position: Position | None = None
    max_bytes: int = PAGE_BYTES
    max_payload_bytes: int = LARGEST_PAYLOAD_BYTES


Encoded = TypeVar("Encoded")


class Page(msgspec.Struct, Generic[Encoded], frozen=True):
    """A page of the log.

    A page may hold fewer events than the query allows, none at all even, and still have a `next`:
    pages are bounded in bytes and in rows scanned, too.
    """

    parts: list[Encoded]
    """The events in order, each part encoded by the encoder of the read."""
    count: int
    """Number of events."""
    next: Position | None
    """Where the next page begins; None at the end."""
    head: int | None
    """Head offset of the topic, read before the events; None of a page across topics. Without a
    `next`, every event up to it that the query selects was read."""
