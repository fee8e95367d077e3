"""The words of storage as types: events, verdicts, counts, queries and pages.

Times are whole microseconds since 1970-01-01T00:00:00Z (`_us`), so that no clock library
and no driver rounds them. A payload is the JSON text exactly as it was sent.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

INT64_MAX = 2**63 - 1
"""The largest offset both backends can hold."""

LARGEST_PAYLOAD_BYTES = 2**31 - 1
"""No payload is larger: neither backend can hold one."""

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


class LogEvent(msgspec.Struct, frozen=True, gc=False):
    """One event as read from the log; the payload is its JSON text in UTF-8.

    Bytes, because text that holds one character beyond the common ones takes four bytes for each.
    """

    topic: str
    offset: int
    event_id: str
    timestamp_us: int
    ts_ingest_us: int
    source: str
    payload: bytes


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
    max_payload_bytes: int = LARGEST_PAYLOAD_BYTES


class Page(msgspec.Struct, frozen=True):
    """A page of the log; `next` is where to go on, None at the end.

    A page may hold fewer events than asked for, none at all even, and still have a `next`:
    pages are bounded in bytes and in rows looked at, too.
    """

    events: list[LogEvent]
    next: Position | None
