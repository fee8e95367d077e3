"""The body of `POST /publish`: one event, an array, an envelope, or NDJSON."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import Raw

from aggregator.wire.errors import FieldError, InvalidRequest, MalformedBody, TooLarge
from aggregator.wire.events import (
    Limits,
    NotPlainlyValid,
    Published,
    check_event,
    kind_of,
    valid_event,
)
from aggregator.wire.masking import Masked
from storage.model import Event

MAX_ERRORS_TOLD = 100

_ENVELOPE = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"events"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
_FIRST_MEMBER = re.compile(
    rb'[ \t\r\n]*\{[ \t\r\n]*"(?:[^"\\]++|\\.)*+"[ \t\r\n]*:[ \t\r\n]*', re.DOTALL
)
_WHITE_SPACE = b" \t\r\n"

_decode_one = msgspec.json.Decoder(Published).decode
_decode_many = msgspec.json.Decoder(list[Published]).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_any = msgspec.json.Decoder(Raw).decode


class Batch(NamedTuple):
    """The events of one request, in the order sent, and those refused under lenient handling.

    `rejected` maps an event's place in the request to what is wrong with it; the valid
    events fill the other places in order.
    """

    events: list[Event]
    rejected: dict[int, str]


def parse_publish(body: bytes, *, ndjson: bool, lenient: bool, limits: Limits) -> Batch:
    """The events of a body.

    Args:
        body: decompressed.
        ndjson: one event a line, blank lines skipped; otherwise one JSON text.
        lenient: give invalid events back as rejected, instead of raising.

    Raises:
        MalformedBody: not UTF-8 or not JSON, or empty.
        TooLarge: too many events, or a payload over its limit.
        InvalidRequest: an event breaks a rule (without `lenient`), or there is none.
    """
    if not body:
        raise MalformedBody("the body is empty; send one event, an array of events, or NDJSON")
    try:
        body.decode()
        published = [_decode_one(line) for line in _lines(body)] if ndjson else _decode_plain(body)
        _check_count(len(published), limits)
        return Batch([valid_event(each, limits) for each in published], {})
    except (NotPlainlyValid, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        # Something is wrong, or unusual: the slower way is exact and can say what.
        entries = _ndjson_entries(body) if ndjson else _json_entries(body)
    return _check_entries(entries, lenient=lenient, limits=limits)


def _decode_plain(body: bytes) -> list[Published]:
    envelope = _ENVELOPE.match(body)
    if envelope:
        end = len(body.rstrip(_WHITE_SPACE)) - 1
        if body[end:][:1] == b"}":
            # What lies between is one array and nothing else, or it does not decode.
            return _decode_many(body[envelope.end() : end])
    if body.lstrip(_WHITE_SPACE)[:1] == b"{":
        return [_decode_one(body)]
    return _decode_many(body)


class _Entry(NamedTuple):
    """One event's text and its mask, or why there is none."""

    raw: bytes
    masked: Masked | None
    malformed: str | None = None


def _check_entries(entries: list[_Entry], *, lenient: bool, limits: Limits) -> Batch:
    _check_count(len(entries), limits)
    events: list[Event] = []
    rejected: dict[int, str] = {}
    errors: list[FieldError] = []
    malformed: str | None = None
    for index, entry in enumerate(entries):
        if entry.malformed is not None:
            malformed = malformed or entry.malformed
            rejected[index] = entry.malformed
            continue
        outcome = check_event(entry.raw, index, limits, entry.masked)
        if isinstance(outcome, Event):
            events.append(outcome)
        else:
            errors += outcome
            rejected[index] = "; ".join(f"{e.field} {e.message}".strip() for e in outcome)
    if lenient:
        return Batch(events, rejected)
    if malformed is not None:
        raise MalformedBody(malformed)
    if errors:
        raise InvalidRequest(_summary(errors, rejected, len(entries)), errors[:MAX_ERRORS_TOLD])
    return Batch(events, {})


def _summary(errors: list[FieldError], rejected: dict[int, str], total: int) -> str:
    first = errors[0]
    what = f"{first.field} {first.message}".strip()
    if total == 1:
        return f"the event is invalid: {what}"
    return (
        f"{len(rejected)} of {total} events are invalid; the first, at index {first.index}: {what}"
    )


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.max_events:
        raise TooLarge(f"{count} events in one request are over the limit of {limits.max_events}")
    if not count:
        raise InvalidRequest("the batch is empty; send at least one event")


def _lines(body: bytes) -> Iterator[bytes]:
    return (line for line in body.split(b"\n") if line.strip(_WHITE_SPACE))


def _ndjson_entries(body: bytes) -> list[_Entry]:
    return [_ndjson_entry(line, index) for index, line in enumerate(_lines(body))]


def _ndjson_entry(line: bytes, index: int) -> _Entry:
    try:
        raw, masked = _readable(line)
    except MalformedBody as error:
        return _Entry(b"", None, f"the event at index {index} is not JSON: {error}")
    return _Entry(raw, masked)


def _json_entries(body: bytes) -> list[_Entry]:
    try:
        body, masked = _readable(body)
    except MalformedBody as error:
        raise MalformedBody(f"the body is not JSON: {error}") from error
    if body[:1] == b"[":
        return [_Entry(bytes(raw), masked) for raw in _decode_array(body)]
    if body[:1] != b"{":
        raise InvalidRequest(
            f"the body must be an event, an array of events or an envelope, not {kind_of(body)}"
        )
    members = _decode_object(body)
    if "events" not in members:
        return [_Entry(body, masked)]
    events = bytes(members["events"])
    if len(members) > 1 or _repeats_member(body, events):
        raise InvalidRequest('"events" must be the only member of an envelope, given once')
    if events[:1] != b"[":
        raise InvalidRequest(f'"events" must be an array of events, not {kind_of(events)}')
    return [_Entry(bytes(raw), masked) for raw in _decode_array(events)]


def _readable(text: bytes) -> tuple[bytes, Masked | None]:
    """The JSON text without white space around it, and its mask if it needed one."""
    try:
        text.decode()
        return bytes(_decode_any(text)).strip(_WHITE_SPACE), None
    except UnicodeDecodeError as error:
        raise MalformedBody(f"not UTF-8 at byte {error.start}") from error
    except (msgspec.DecodeError, RecursionError):
        masked = Masked(text)
    try:
        return bytes(_decode_any(masked.body)).strip(_WHITE_SPACE), masked
    except msgspec.DecodeError as error:
        raise MalformedBody(str(error)) from error


def _repeats_member(body: bytes, only_value: bytes) -> bool:
    """Whether an object with one name has it more than once; only the last value is decoded."""
    first = _FIRST_MEMBER.match(body)
    rest = body[first.end() :] if first else b""
    return rest.removeprefix(only_value).strip(_WHITE_SPACE) != b"}" or not rest.startswith(
        only_value
    )
