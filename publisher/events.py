"""Events as programs make them, and as they are sent."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

import msgspec

from publisher.errors import EventInvalid
from publisher.ids import uuid7

_encode = msgspec.json.encode
# msgspec would write NaN as null, which is another value.
_json_text = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_ascii_json_text = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """An event to publish, which has its identity from the moment it is made.

    Publishing the same Event again is always safe. Publishing a new Event of the same facts is not,
    unless its id comes from the facts (see docs/use/ids.md).

    Args:
        topic: the topic's name, 1 to 249 characters of `A-Z a-z 0-9 . _ -`.
        payload: a mapping that `json.dumps` can write, or the JSON text of an object as bytes,
            which is sent as it is.
        source: the system that the event comes from, 1 to 256 characters, no control characters.
        event_id: the id, unique within the topic, 1 to 256 characters, no control characters; a
            new UUIDv7 by default.
        timestamp: the time of the event with a time zone, now by default. A string is an RFC 3339
            date-time and is sent as it is.
    """

    topic: str
    payload: Mapping[str, object] | bytes
    source: str
    event_id: str = field(default_factory=uuid7)
    timestamp: datetime | str = field(default_factory=now)


class EncodedEvent(NamedTuple):
    """An event as it is sent: its dedup key, and a line of JSON without a newline."""

    topic: str
    event_id: str
    line: bytes


def encode_event(event: Event) -> EncodedEvent:
    """Encode an event, once, so that every attempt sends the same bytes.

    The rules of the contract are checked by the aggregator (EventRejected).

    Args:
        event: the event.

    Returns:
        The encoded event.

    Raises:
        EventInvalid: the event has no JSON form: its payload is no object or holds NaN, its
            timestamp has no time zone, or a name is no string or holds a lone surrogate.
    """
    try:
        line = b'{"topic":%b,"event_id":%b,"timestamp":%b,"source":%b,"payload":%b}' % (
            _name_text("topic", event.topic),
            _name_text("event_id", event.event_id),
            _encode(_timestamp_text(event.timestamp)),
            _name_text("source", event.source),
            _payload_text(event.payload),
        )
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        name = f"event {event.event_id!r} of topic {event.topic!r}"
        raise EventInvalid(f"{name} has no JSON form: {error}") from error
    return EncodedEvent(event.topic, event.event_id, line)


def _name_text(field: str, name: object) -> bytes:
    # msgspec would write bytes as base64 and a UUID as text, which is another name.
    if not isinstance(name, str):
        raise TypeError(f"the {field} must be a string, not {type(name).__name__}")
    return _encode(name)


def _timestamp_text(timestamp: object) -> str:
    if isinstance(timestamp, str):
        return timestamp
    if not isinstance(timestamp, datetime):
        raise TypeError(
            f"the timestamp must be a datetime or a string, not {type(timestamp).__name__}"
        )
    if timestamp.utcoffset() is None:
        # Sent unchanged it would be read as UTC, and it is most likely a local time.
        raise ValueError(f"the timestamp {timestamp} has no time zone; use datetime.now(UTC)")
    utc = timestamp.astimezone(UTC)
    return utc.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _payload_text(payload: Mapping[str, object] | bytes) -> bytes:
    if isinstance(payload, bytes):
        parse_record(payload)
        return payload
    if not isinstance(payload, Mapping):
        raise TypeError(f"the payload must be a mapping, not {type(payload).__name__}")
    content = payload if isinstance(payload, dict) else dict(payload)
    try:
        return _json_text(content).encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8, but JSON has an escape for it.
        return _ascii_json_text(content).encode()


def parse_record(text: bytes) -> dict[str, object]:
    """Parse the JSON text of an object on one line.

    Args:
        text: the JSON text.

    Returns:
        The object, with its numbers as their text.

    Raises:
        ValueError: the text is no JSON, or not on one line; one sentence.
        TypeError: the text is JSON, but no object.
        RecursionError: it is nested too deeply.
    """
    if b"\n" in text:
        raise ValueError("the JSON text must be on one line")
    try:
        content = json.loads(
            text.decode(), parse_int=str, parse_float=str, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg}, character {error.pos})") from error
    if not isinstance(content, dict):
        raise TypeError("it is JSON, but not an object")
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
