"""What a publish body means, by the contract: a slow model that shares nothing with the code."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from support.json_texts import depth_of

FIELDS = ("topic", "event_id", "timestamp", "source", "payload")
_TOPIC = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_SPACES = " \t\r\n"


class Outcome(NamedTuple):
    """What comes of a body: `kind` is "events", "malformed", "invalid" or "too large".

    `events` as tuples of their fields; `errors` as (index, field), empty if the body as a
    whole is invalid.
    """

    kind: str
    events: tuple[tuple[Any, ...], ...] = ()
    errors: frozenset[tuple[int, str]] = frozenset()


class _TooLarge(Exception):
    pass


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_decoder = json.JSONDecoder(parse_constant=_refuse, parse_int=str, parse_float=str)


def outcome_of(body: bytes, *, max_events: int, max_payload_bytes: int) -> Outcome:
    """What `POST /publish` makes of a JSON body."""
    try:
        text = body.decode().removeprefix("\ufeff")
        start = _skip(text, 0)
        _, end = _decoder.raw_decode(text, start)
        if _skip(text, end) != len(text):
            return Outcome("malformed")
    except ValueError:
        return Outcome("malformed")
    entries = _entries(text[start:end])
    if not entries:
        return Outcome("invalid")
    if len(entries) > max_events:
        return Outcome("too large")
    try:
        return _check_all(entries, max_payload_bytes)
    except _TooLarge:
        return Outcome("too large")


def _check_all(entries: list[str], max_payload_bytes: int) -> Outcome:
    events: list[tuple[Any, ...]] = []
    errors: set[tuple[int, str]] = set()
    for index, entry in enumerate(entries):
        found = _check(entry, max_payload_bytes)
        if isinstance(found, tuple):
            events.append(found)
        else:
            errors |= {(index, field) for field in found}
    if errors:
        return Outcome("invalid", errors=frozenset(errors))
    return Outcome("events", tuple(events))


def _entries(text: str) -> list[str] | None:
    """The texts of the events, or None if the body is no form of a publish."""
    if text[0] == "[":
        return _elements(text)
    if text[0] != "{":
        return None
    members = _members(text)
    if "events" not in [name for name, _ in members]:
        return [text]
    if len(members) > 1 or members[0][1][0] != "[":
        return None
    return _elements(members[0][1])


def _check(text: str, max_payload_bytes: int) -> tuple[Any, ...] | set[str]:
    if text[0] != "{":
        return {""}
    sent = dict(_members(text))
    if "payload" in sent and len(sent["payload"].encode()) > max_payload_bytes:
        raise _TooLarge
    wrong = {
        "\ufffd" if any(map(_is_surrogate, name)) else name[:64]
        for name in sent
        if name not in FIELDS
    }
    wrong |= {field for field in FIELDS if field not in sent}
    texts, moment, broken = _check_texts(sent)
    wrong |= broken
    payload = sent.get("payload", "{}")
    if payload[0] != "{" or depth_of(payload) > 128:
        wrong.add("payload")
    if wrong:
        return wrong
    return texts["topic"], texts["event_id"], moment, texts["source"], payload


def _check_texts(sent: dict[str, str]) -> tuple[dict[str, str], int | None, set[str]]:
    """The fields that are strings, the time, and which of them break a rule."""
    wrong: set[str] = set()
    texts: dict[str, str] = {}
    for field in FIELDS[:4]:
        value = _decoder.decode(sent.get(field, "null"))
        if not sent.get(field, "").startswith('"') or any(map(_is_surrogate, value)):
            wrong.add(field)
        else:
            texts[field] = value
    topic = texts.get("topic", "a")
    if not (1 <= len(topic) <= 249 and set(topic) <= _TOPIC):
        wrong.add("topic")
    for field in ("event_id", "source"):
        name = texts.get(field, "a")
        if not 1 <= len(name) <= 256 or any(ord(c) < 32 or ord(c) == 127 for c in name):
            wrong.add(field)
    moment = timestamp_of(texts.get("timestamp", "2000-01-01T00:00"))
    if moment is None:
        wrong.add("timestamp")
    return texts, moment, wrong


def timestamp_of(text: str) -> int | None:
    """Microseconds since the epoch, or None if it is no date-time of the contract."""
    rest, digits = text, "0123456789"
    offset = timedelta()
    if rest[-1:] in {"Z", "z"}:
        rest = rest[:-1]
    elif len(rest) > 16 and rest[-6] in "+-":
        sign, hours, colon, minutes = rest[-6], rest[-5:-3], rest[-3], rest[-2:]
        if colon != ":" or any(c not in digits for c in hours + minutes):
            return None
        if int(hours) > 23 or int(minutes) > 59:
            return None
        offset = timedelta(hours=int(hours), minutes=int(minutes)) * (1 if sign == "+" else -1)
        rest = rest[:-6]
    whole, dot, fraction = rest.partition(".")
    if dot and (not fraction or any(c not in digits for c in fraction) or len(whole) != 19):
        return None
    if len(whole) == 16:
        whole += ":00"
    shape = "".join("0" if c in digits else c for c in whole)
    if shape.upper().replace("T", " ") != "0000-00-00 00:00:00":
        return None
    numbers = [int(whole[a:b]) for a, b in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))]
    year = numbers[0]
    try:
        # A leap year that stands in for the year 0, which has no datetime.
        moment = datetime(*(numbers[:6]), tzinfo=UTC)  # type: ignore[arg-type,misc]
    except ValueError:
        return None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC) - offset
    time_us = since // timedelta(microseconds=1) + int((fraction + "000000")[:6])
    first = (datetime(1, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )
    last = first + 3_652_059 * 86_400_000_000
    return time_us if year and first <= time_us < last else None


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACES:
        place += 1
    return place


def _elements(text: str) -> list[str]:
    found: list[str] = []
    place = _skip(text, 1)
    while text[place] != "]":
        _, end = _decoder.raw_decode(text, place)
        found.append(text[place:end])
        place = _skip(text, end)
        if text[place] == ",":
            place = _skip(text, place + 1)
    return found


def _members(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    place = _skip(text, 1)
    while text[place] != "}":
        name, end = _decoder.raw_decode(text, place)
        place = _skip(text, _skip(text, end) + 1)
        _, end = _decoder.raw_decode(text, place)
        found.append((name, text[place:end]))
        place = _skip(text, end)
        if text[place] == ",":
            place = _skip(text, place + 1)
    return found
