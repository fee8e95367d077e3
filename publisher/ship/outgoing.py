"""Records as events, in batches of the size of a request."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from publisher.events import EncodedEvent
from publisher.ship.records.record import Record
from publisher.ship.records.text import text_payload

_ID_BYTES = 10
_encode = msgspec.json.encode
_new_event = tuple.__new__  # of 100,000 a second


class Origin(Protocol):
    """Where records come from."""

    @property
    def name(self) -> str:
        """The prefix of the ids of its records."""

    @property
    def source(self) -> str:
        """The source of the events, unless a record has its own."""

    @property
    def path(self) -> Path:
        """Where they come from, as people know it."""


class Item(NamedTuple):
    """A record on its way.

    Args:
        origin: where it comes from.
        record: the record.
        event: its event; None if it goes to the dead letters.
    """

    origin: Origin
    record: Record
    event: EncodedEvent | None

    @property
    def where(self) -> str:
        """The place of the record, for people."""
        # That of a long line may be the last of several that it takes.
        lines = self.record.lines
        position = lines[0].position if lines else self.record.position
        return f"{os.fspath(self.origin.path)!r} at byte {position:,}"


@dataclass(slots=True)
class Batch:
    """Records that share a request.

    Args:
        items: the records.
        size_bytes: of their events.
        marks: how far an origin is acknowledged when so many of the items are.
    """

    items: list[Item] = field(default_factory=list)
    size_bytes: int = 0
    marks: list[tuple[int, Origin, object]] = field(default_factory=list)


def made_id(origin: Origin, record: Record) -> str:
    """Return the id of a record that has none of its own."""
    return f"{origin.name}-{record.position:012d}-{record.chain[:_ID_BYTES].hex()}"


def event_of(origin: Origin, record: Record, topic: str, stamp: str) -> EncodedEvent:
    """Return the event of a record.

    Args:
        origin: where it comes from.
        record: the record.
        topic: where the record has none of its own.
        stamp: the time of sending, where the record has none of its own.
    """
    return Encoder(origin, topic, stamp).event(record)


class Encoder:
    """Encodes the records of an origin as events.

    Args:
        origin: where they come from.
        topic: where a record has none of its own.
        stamp: the time of sending, where a record has none of its own.
    """

    def __init__(self, origin: Origin, topic: str, stamp: str) -> None:
        self._name = origin.name
        self._source = _encode(origin.source)
        self._topic = topic
        self._stamp = stamp

    def event(self, record: Record) -> EncodedEvent:
        """Return the event of a record."""
        position, chain, payload, time, event_id, topic, source, _, refused, _ = record
        topic = topic or self._topic
        if event_id is None:
            # Made ids have nothing that JSON escapes.
            event_id = f"{self._name}-{position:012d}-{chain[:_ID_BYTES].hex()}"
            if refused:
                # The record that other options make of it is another event.
                event_id += "-text"
            id_text = f'"{event_id}"'.encode()
        else:
            id_text = _encode(event_id)
        line = b'{"topic":"%b","event_id":%b,"timestamp":"%b","source":%b,"payload":%b}' % (
            topic.encode(),
            id_text,
            (time or self._stamp).encode(),
            self._source if source is None else _encode(source),
            payload,
        )
        return _new_event(EncodedEvent, (topic, event_id, line))


def text_event_of(origin: Origin, record: Record, topic: str, stamp: str) -> EncodedEvent:
    """Return the event of a record as text, when the aggregator rejected it as it was."""
    lines = record.lines
    if not lines:
        return event_of(origin, record, topic, stamp)
    content = b"".join(line.data + line.eol for line in lines)
    eol = lines[-1].eol
    as_text = Record(
        position=record.position,
        chain=record.chain,
        payload=text_payload(record.position, content[: len(content) - len(eol)], eol),
        time=None,
        event_id=None,
        topic=None,
        source=None,
        lines=lines,
        refused="rejected",
    )
    return event_of(origin, as_text, topic, stamp)
