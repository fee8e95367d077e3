"""The log of a double: events by topic, each stored once under its id."""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from storage.json_equality import same_json
from storage.topic_patterns import TopicSelection
from subscriber.testing.events import NewEvent, render_event


class Published(NamedTuple):
    """The answer to a publish.

    Args:
        topic, event_id: the event.
        status: `stored`; `duplicate`, if the id was there; `conflict`, if it was there with another
            payload or source. Only `stored` has changed anything.
        offset: of the event that is stored under the id.
    """

    topic: str
    event_id: str
    status: str
    offset: int


class _Topic:
    """The events of one topic, by offset from 1 on."""

    def __init__(self) -> None:
        self.events: list[NewEvent] = []
        self.lines: list[bytes] = []
        self.stored_us: list[int] = []
        self.offsets: dict[str, int] = {}
        """By event id."""
        self.by_source: dict[str, list[int]] = {}
        """Offsets, ascending."""


_EMPTY = _Topic()


class EventLog:
    """The events of all topics."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def publish(self, event: NewEvent, now_us: int) -> Published:
        """Store an event, unless one is stored under its id."""
        topic = self._topics.setdefault(event.topic, _Topic())
        offset = topic.offsets.get(event.event_id)
        if offset is not None:
            stored = topic.events[offset - 1]
            is_same = stored.source == event.source and same_json(stored.payload, event.payload)
            status = "duplicate" if is_same else "conflict"
            return Published(event.topic, event.event_id, status, offset)
        offset = len(topic.events) + 1
        topic.events.append(event)
        topic.lines.append(render_event(event, offset, now_us))
        topic.stored_us.append(now_us)
        topic.offsets[event.event_id] = offset
        topic.by_source.setdefault(event.source, []).append(offset)
        return Published(event.topic, event.event_id, "stored", offset)

    def has(self, topic: str, event_id: str) -> bool:
        """Return whether an event is stored under an id."""
        return event_id in self._topics.get(topic, _EMPTY).offsets

    def lines(self, topic: str) -> list[bytes]:
        """Return the events of a topic as JSON objects, each on one line."""
        return list(self._topics.get(topic, _EMPTY).lines)

    def line(self, topic: str, offset: int) -> bytes:
        """Return an event that is there as a JSON object on one line."""
        return self._topics[topic].lines[offset - 1]

    def head(self, topic: str) -> int:
        """Return the head offset of a topic; 0: it has no event."""
        return len(self._topics.get(topic, _EMPTY).events)

    def heads(self, selection: TopicSelection) -> dict[str, int]:
        """Return the head offsets of the topics that exist and are selected, by name."""
        names = sorted(filter(selection.matches, self._topics))
        return {name: self.head(name) for name in names}

    def stored_us(self, topic: str, offset: int) -> int | None:
        """Return when an event was stored; None: there is none."""
        times = self._topics.get(topic, _EMPTY).stored_us
        return times[offset - 1] if offset <= len(times) else None

    def first_offset(self, topic: str, time_us: int) -> int:
        """Return the first offset that was stored at a time or later; head + 1 if none was."""
        return bisect_left(self._topics.get(topic, _EMPTY).stored_us, time_us) + 1

    def offsets_of_source(
        self, topic: str, source: str, first: int, last: int
    ) -> list[tuple[int, int]]:
        """Return the ranges of a source's offsets between two offsets, ascending."""
        offsets = self._topics.get(topic, _EMPTY).by_source.get(source, [])
        ranges: list[tuple[int, int]] = []
        for offset in offsets[bisect_left(offsets, first) : bisect_right(offsets, last)]:
            if ranges and ranges[-1][1] == offset - 1:
                ranges[-1] = ranges[-1][0], offset
            else:
                ranges.append((offset, offset))
        return ranges
