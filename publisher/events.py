"""What is published: an event, and its form on the wire."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

import msgspec

from publisher.errors import EventInvalid
from publisher.ids import uuid7

_encode = msgspec.json.encode
# msgspec would write NaN as null: another value than was given.
_json_text = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_ascii_json_text = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def now() -> datetime:
    """Give the time it is, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """An event, with its identity from the moment it is made.

    topic: 1 to 249 characters of `A-Z a-z 0-9 . _ -`.
    payload: a mapping of what `json.dumps` takes, or the JSON text of an object as bytes, which is
    sent as it is.
    source: who says so; 1 to 256 characters, no control characters.
    event_id: unique within the topic, 1 to 256 characters, no control characters; a new UUIDv7
    unless given. Publishing the same Event again is therefore always safe; making a new one of the
    same facts is not, unless the id comes from the facts (see docs/use/ids.md).
    timestamp: when it happened, with a time zone; now unless given. A string is an RFC 3339
    date-time and is sent as it is.
    """

    topic: str
    payload: Mapping[str, object] | bytes
    source: str
    event_id: str = field(default_factory=uuid7)
    timestamp: datetime | str = field(default_factory=now)


class EncodedEvent(NamedTuple):
    """An event as it is sent: its dedup key, and a line of JSON without newline."""

    topic: str
    event_id: str
    line: bytes


def encode_event(event: Event) -> EncodedEvent:
    """Give an event its form on the wire, once, so that each try sends the same bytes.

    Raises EventInvalid for what has no JSON form: a payload that is no object or holds NaN, a date
    without time zone, a name that is no string or holds a lone surrogate. The contract's rules are
    the aggregator's to judge (EventRejected).
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
    # msgspec would write bytes as base64 and a UUID as text: a name that nobody gave.
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
        # Sent as it is it would be taken for UTC, and is most likely a local time.
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
    """Parse the JSON text of an object on one line; numbers are given as their text.

    Raises ValueError, one sentence, when it is none; RecursionError when it is nested too deeply.
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
