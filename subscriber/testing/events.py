"""Events as tests publish them, checked as an aggregator checks them, and as it gives them back."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, NoReturn

from subscriber.testing.rules import name_rule_broken, topic_rule_broken
from subscriber.testing.times import microseconds, parse_date_time, render_time

MAX_PAYLOAD_BYTES = 2**20
"""What an aggregator takes unless it is set otherwise."""

_MAX_NESTING = 128
_WHITE_SPACE = " \t\n\r"
_LINE_BREAKS = str.maketrans("\r\n", "  ")


class NewEvent(NamedTuple):
    """An event before it is stored.

    Args:
        topic, event_id, source: names.
        timestamp_us: in microseconds since 1970.
        payload: the JSON text of an object.
    """

    topic: str
    event_id: str
    timestamp_us: int
    source: str
    payload: str


def new_event(
    topic: str,
    payload: Mapping[str, Any] | bytes,
    event_id: str,
    source: str,
    timestamp: datetime | str,
) -> NewEvent:
    """Check an event.

    Raises:
        ValueError: it breaks a rule; one sentence.
    """
    if broken := topic_rule_broken(topic):
        raise ValueError(f"topic {broken}")
    for field, name in (("event_id", event_id), ("source", source)):
        if broken := name_rule_broken(name):
            raise ValueError(f"{field} {broken}")
    return NewEvent(topic, event_id, _time(timestamp), source, _payload_text(payload))


def render_event(event: NewEvent, offset: int, stored_us: int) -> bytes:
    """Render a stored event as a page has it: a JSON object on one line.

    Args:
        event: the event.
        offset: of it.
        stored_us: when it was stored, in microseconds since 1970.
    """
    # Line breaks in a payload's text can only be white space between tokens.
    text = (
        f'{{"topic":"{event.topic}","event_id":"{_escaped(event.event_id)}",'
        f'"timestamp":"{render_time(event.timestamp_us)}","source":"{_escaped(event.source)}",'
        f'"payload":{event.payload.translate(_LINE_BREAKS)},"offset":{offset},'
        f'"ts_ingest":"{render_time(stored_us)}"}}'
    )
    return text.encode()


def _escaped(name: str) -> str:
    # A name has no control characters, so nothing else needs an escape.
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _time(timestamp: datetime | str) -> int:
    if isinstance(timestamp, datetime):
        return microseconds(timestamp)
    try:
        return parse_date_time(timestamp)
    except ValueError as error:
        raise ValueError(f"timestamp {timestamp!r} {error}") from error


def _payload_text(payload: Mapping[str, Any] | bytes) -> str:
    try:
        text = payload.decode() if isinstance(payload, bytes) else _json_text(payload)
        content = json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_constant)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"payload has no JSON form: {error}") from error
    if not isinstance(content, dict):
        raise ValueError("payload must be a JSON object")  # noqa: TRY004 - one error for all rules
    text = text.strip(_WHITE_SPACE)
    if (size := len(text.encode())) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a payload of {size} bytes is over the limit of {MAX_PAYLOAD_BYTES}")
    if _nests_too_deep(content):
        raise ValueError(f"payload must not nest deeper than {_MAX_NESTING} levels")
    return text


def _json_text(payload: Mapping[str, Any]) -> str:
    text = json.dumps(dict(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8, but JSON has an escape for it.
        text = json.dumps(dict(payload), allow_nan=False, separators=(",", ":"))
    return text


def _nests_too_deep(content: object) -> bool:
    level = [content]
    for _ in range(_MAX_NESTING):
        inner = [list(each.values()) if isinstance(each, dict) else each for each in level]
        level = [one for each in inner if isinstance(each, list) for one in each]
        level = [one for one in level if isinstance(one, (dict, list))]
        if not level:
            return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
