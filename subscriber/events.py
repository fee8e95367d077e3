"""What a stream gives: events, the heads of topics, and gaps."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from publisher.refusals import one_line


class NotFromAnAggregator(ValueError):
    """The data of a block is not what an aggregator sends; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Event:
    """A stored event.

    The times are datetimes, so that they can be compared and given to `publisher.Event` as they
    are. An aggregator keeps microseconds, so a datetime loses nothing.

    Args:
        topic: the topic's name.
        event_id: the id, unique within the topic.
        timestamp: the time of the event as its publisher gave it, in UTC.
        source: the system that the event comes from.
        payload: the JSON object, as `json.loads` decodes it; an integer of more digits than
            Python's limit for conversions (4,300) is a `Decimal`.
        offset: the position in the topic, from 1.
        ts_ingest: the time at which the event was stored, in UTC.
        json: the event as the JSON object that the aggregator sent, on one line without newline.
            In it each number has every digit.
    """

    topic: str
    event_id: str
    timestamp: datetime
    source: str
    payload: dict[str, Any]
    offset: int
    ts_ingest: datetime
    json: bytes = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets of a topic that were asked for and are not in the log.

    Args:
        topic: the topic's name.
        first: the first offset that is missing, `from` in the stream.
        last: the last offset that is missing, `to` in the stream.
        reason: `expired` if the log no longer holds them, `head_is_lower` if the position is above
            the topic's head, as after a log was restored from a backup.
        head: the head offset of the topic.
    """

    topic: str
    first: int
    last: int
    reason: str
    head: int

    @property
    def goes_on_behind(self) -> int:
        """The offset behind which the stream goes on."""
        return self.last if self.reason == "expired" else self.head

    def __str__(self) -> str:
        """Return a sentence."""
        if self.reason == "expired":
            why = "the log no longer holds them"
        else:
            why = f"the position is above the topic's head, {self.head}: is this another log?"
        return f"the offsets {self.first} to {self.last} of {self.topic!r} are missing: {why}"


def parse_event(line: bytes) -> Event:
    """Parse an event.

    Args:
        line: the JSON object of an event, as a page holds it.

    Returns:
        The event.

    Raises:
        NotFromAnAggregator: it is no such object.
    """
    fields = _object(line)
    try:
        event = Event(
            _string(fields["topic"]),
            _string(fields["event_id"]),
            _time(fields["timestamp"]),
            _string(fields["source"]),
            fields["payload"],
            _number(fields["offset"]),
            _time(fields["ts_ingest"]),
            line,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign("event", error) from error
    if event.offset < 1 or not isinstance(event.payload, dict):
        raise NotFromAnAggregator("an event has no offset, or its payload is no object")
    return event


def parse_gap(data: bytes) -> Gap:
    """Parse the data of a block `gap`.

    Raises:
        NotFromAnAggregator: it is no gap.
    """
    fields = _object(data)
    try:
        first, last, head = (_number(fields[name]) for name in ("from", "to", "head"))
        gap = Gap(_string(fields["topic"]), first, last, _string(fields["reason"]), head)
    except (KeyError, TypeError) as error:
        raise _foreign("gap", error) from error
    if gap.reason not in {"expired", "head_is_lower"}:
        # A reason that this version does not know says nothing of where the stream goes on.
        raise NotFromAnAggregator(f"a gap has the reason {one_line(gap.reason)!r}")
    return gap


def parse_heads(data: bytes) -> Mapping[str, int]:
    """Parse the data of a block `caught-up`: the head offset of each topic.

    Raises:
        NotFromAnAggregator: it is no object of numbers.
    """
    fields = _object(data)
    try:
        return {topic: _number(head) for topic, head in fields.items()}
    except TypeError as error:
        raise _foreign("block 'caught-up'", error) from error


def parse_reason(data: bytes) -> str:
    """Parse the data of a block `unavailable`: why there is no stream now, in one line."""
    try:
        reason = _object(data).get("reason")
    except NotFromAnAggregator:
        reason = None
    return one_line(reason if isinstance(reason, str) else "") or "no reason given"


def _object(text: bytes) -> dict[str, Any]:
    try:
        content = _decoded(text.decode())
    except (ValueError, RecursionError) as error:
        raise NotFromAnAggregator(f"a block is no JSON ({one_line(str(error))})") from error
    if not isinstance(content, dict):
        raise NotFromAnAggregator("a block is no JSON object")
    return content


def _decoded(text: str) -> object:
    # msgspec, which would be quicker, refuses lone surrogates, and so events that are valid.
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # An integer is too long for Python's conversion; of all of them that would take time.
        return json.loads(text, parse_int=_integer)


def _integer(text: str) -> int | Decimal:
    try:
        return int(text)
    except ValueError:
        return Decimal(text)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no string")
    return value


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(_string(value))
    return time if time.tzinfo is UTC else time.astimezone(UTC)


def _foreign(what: str, error: Exception) -> NotFromAnAggregator:
    missing = f"it has no {error}" if isinstance(error, KeyError) else str(error)
    return NotFromAnAggregator(one_line(f"not the {what} of an aggregator: {missing}"))
