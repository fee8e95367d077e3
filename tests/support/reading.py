"""Reading from a store as events, for tests that look at one after the other."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec

from storage.model import EventColumns, Position, Query
from storage.protocols import EventReader


class LogEvent(msgspec.Struct, frozen=True):
    """One event as read from the log; the payload is its JSON text in UTF-8."""

    topic: str
    offset: int
    event_id: str
    timestamp_us: int
    ts_ingest_us: int
    source: str
    payload: bytes


class EventPage(msgspec.Struct, frozen=True):
    """A page as events."""

    events: Sequence[LogEvent]
    next: Position | None
    head: int | None


def log_events(columns: EventColumns) -> list[LogEvent]:
    topics, offsets, event_ids, timestamps_us, ts_ingest_us, sources, payloads = columns
    texts = [[text.decode() for text in column] for column in (topics, event_ids, sources)]
    rows = zip(
        texts[0], offsets, texts[1], timestamps_us, ts_ingest_us, texts[2], payloads, strict=True
    )
    return [LogEvent(*row) for row in rows]


async def read_page(store: EventReader, query: Query) -> EventPage:
    page = await store.read(query, log_events)
    events = list(chain.from_iterable(page.parts))
    assert len(events) == page.count
    return EventPage(events, page.next, page.head)


async def get_event(
    store: EventReader, topic: str, event_id: str, **options: Any
) -> LogEvent | None:
    found = await store.get(topic, event_id, **options)
    return None if found is None else log_events(found)[0]
