"""What a line becomes: text as it is, or a JSON record with an id of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from publisher.events import EncodedEvent, Event, encode_event, now, parse_record
from publisher.ship.lineage import Line
from publisher.ship.lines import MAX_CHARACTER_BYTES, MAX_PIECE_BYTES
from publisher.ship.log_events import line_payload

MAX_RECORD_BYTES = 1024 * 1024  # what an aggregator takes as one payload


_KINDS: dict[type, str] = {dict: "an object", list: "an array", bool: "a boolean"}
_encode = msgspec.json.Encoder().encode


class LineRefused(Exception):
    """A line is no event; the message is one sentence."""


class Format(Protocol):
    """How lines become events. max_piece_bytes: longer lines are cut before they get here."""

    @property
    def max_piece_bytes(self) -> int:
        """The greatest length of a line, in bytes."""

    def event(self, line: Line, source: str) -> EncodedEvent | None:
        """Give the event of a line of a source, None if there is nothing in it to send.

        Raises LineRefused.
        """
        ...


class _TextEvent(msgspec.Struct, frozen=True):
    topic: str
    event_id: str
    timestamp: str
    source: str
    payload: dict[str, int | str]


@dataclass(frozen=True, slots=True)
class TextFormat:
    """Every line is an event, byte for byte, with an id made of its content and place.

    topic: of all the events.
    """

    topic: str
    max_piece_bytes: int = MAX_PIECE_BYTES

    def event(self, line: Line, source: str) -> EncodedEvent | None:
        """Give the event of a line; there always is one."""
        event = _TextEvent(
            self.topic,
            line.line_id,
            now().isoformat(timespec="microseconds").replace("+00:00", "Z"),
            source,
            line_payload(line.piece),
        )
        return EncodedEvent(self.topic, line.line_id, _encode(event))


@dataclass(frozen=True, slots=True)
class NdjsonFormat:
    """Every line is a JSON object, which is the payload of an event, as it is.

    topic: of all the events, unless topic_field is given. Fields are dotted paths: `a.b` is the
    member `a.b` if there is one, else the member `b` of the object `a`.
    id_field: has the event_id, a string or a number; without it, the id is made of the line's
    content and place. topic_field: has the topic. time_field: has the timestamp, an RFC 3339
    date-time; without it, that is the time of sending.
    """

    topic: str = ""
    id_field: str | None = None
    topic_field: str | None = None
    time_field: str | None = None
    max_piece_bytes: int = MAX_RECORD_BYTES

    def event(self, line: Line, source: str) -> EncodedEvent | None:
        """Give the event of a record; None for a blank line, and for the rest of a long one.

        Raises LineRefused when it is no JSON object, or lacks a field.
        """
        piece = line.piece
        text = piece.data.strip()
        if not text or not line.begins:
            return None
        try:
            record = parse_record(text)
            return encode_event(
                Event(
                    self.topic if self.topic_field is None else _text(record, self.topic_field),
                    text,
                    source,
                    line.line_id if self.id_field is None else _text(record, self.id_field),
                    now() if self.time_field is None else _text(record, self.time_field),
                )
            )
        except (TypeError, ValueError, RecursionError) as error:
            if not piece.eol and len(piece.data) > self.max_piece_bytes - MAX_CHARACTER_BYTES:
                raise LineRefused(f"it is longer than {self.max_piece_bytes:,} bytes") from error
            deep = isinstance(error, RecursionError)
            raise LineRefused("it is nested too deeply" if deep else str(error)) from error


def _text(record: Mapping[str, object], path: str) -> str:
    value = _member(record, path)
    if not isinstance(value, str):
        kind = _KINDS.get(type(value), "null")
        raise TypeError(f"its field {path!r} is {kind}, not a string or a number")
    return value


def _member(record: Mapping[str, object], path: str) -> object:
    if path in record:
        return record[path]
    first, _, rest = path.partition(".")
    inner = record.get(first)
    if rest and isinstance(inner, Mapping):
        return _member(inner, rest)
    raise ValueError(f"it has no field {path!r}")
