"""The parser of the body of `POST /publish`: one event, an array, an envelope, or NDJSON."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec
from msgspec import Raw

from aggregator.wire.errors import FieldError, InvalidRequest, MalformedBody, TooLarge
from aggregator.wire.event_rules import (
    Limits,
    NeedsExactCheck,
    Published,
    check_event,
    kind_of,
    valid_event,
)
from aggregator.wire.json_array_length import has_far_more_members
from aggregator.wire.json_masking import Masked, may_have_lone_surrogate
from storage.model import Event

MAX_REPORTED_ERRORS = 100

_ENVELOPE = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"events"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
_FIRST_MEMBER = re.compile(
    rb'[ \t\r\n]*\{[ \t\r\n]*"(?:[^"\\]++|\\.)*+"[ \t\r\n]*:[ \t\r\n]*', re.DOTALL
)
_WHITE_SPACE = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The byte is counted from 1.
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
_BRACKETS = {b"{", b"["}
# From a line's first byte that is not white space to its end; blank lines have none.
_LINE = re.compile(rb"[^ \t\r\n][^\n]*+")


_EMPTY = "the body is empty; send one event, an array of events, or NDJSON"


class _Envelope(msgspec.Struct):
    """The member that distinguishes an envelope from an event; others are skipped, not kept."""

    events: Raw | msgspec.UnsetType = msgspec.UNSET


_decode_one = msgspec.json.Decoder(Published).decode
_decode_many = msgspec.json.Decoder(list[Published]).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_any = msgspec.json.Decoder(Raw).decode


class Batch(NamedTuple):
    """The events of one request.

    Args:
        events: the valid events, in the order sent.
        rejected: the broken rules of each event rejected under lenient handling, by its place in
            the request from 0. The valid events fill the other places in order.
    """

    events: list[Event]
    rejected: dict[int, str]

    def without(self, refused: Mapping[int, FieldError]) -> "Batch":
        """Return the batch with more events rejected.

        Args:
            refused: why, by their place among the valid events.
        """
        total = len(self.events) + len(self.rejected)
        places = [place for place in range(total) if place not in self.rejected]
        rejected = {
            places[index]: f"{each.field} {each.message}" for index, each in refused.items()
        }
        kept = [event for index, event in enumerate(self.events) if index not in refused]
        return Batch(kept, dict(sorted((self.rejected | rejected).items())))


def parse_publish(body: bytes, *, ndjson: bool, lenient: bool, limits: Limits) -> Batch:
    """Parse the events of a body.

    One byte order mark at the beginning is skipped (RFC 8259, 8.1).

    Args:
        body: the decompressed body.
        ndjson: the body has one event a line, and blank lines are skipped; otherwise it is one JSON
            text.
        lenient: return invalid events as rejected instead of raising.
        limits: the limits of the request.

    Returns:
        The events.

    Raises:
        MalformedBody: the body is not UTF-8, not JSON, or empty.
        TooLarge: there are too many events, or a payload is over its limit.
        InvalidRequest: an event breaks a rule (without `lenient`), or there is no event.
    """
    if not body:
        raise MalformedBody(_EMPTY)
    try:
        body.decode()
        published = _decode_lines(body, limits) if ndjson else _decode_plain(body)
        _check_count(len(published), limits)
        return Batch([valid_event(each, limits) for each in published], {})
    except (NeedsExactCheck, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        # An event is invalid or unusual: the slower parser is exact and names the rule.
        rest = body.removeprefix(_BYTE_ORDER_MARK)
        if not rest:
            raise MalformedBody(_EMPTY) from None
        exact = partial(_parse_exactly, rest, ndjson=ndjson, lenient=lenient, limits=limits)
    try:
        return exact(flatten=False)
    except RecursionError:
        # The depth that a decoder survives depends on the interpreter and its current stack.
        return exact(flatten=True)


def _decode_lines(body: bytes, limits: Limits) -> list[Published]:
    return [_decode_one(line) for line in islice(_lines(body), limits.max_events + 1)]


def _decode_plain(body: bytes) -> list[Published]:
    first = body[:1]
    if first not in _BRACKETS:
        first = body.lstrip(_WHITE_SPACE)[:1]
    if first == b"{" and (envelope := _ENVELOPE.match(body)):
        end = len(body.rstrip(_WHITE_SPACE)) - 1
        if body[end:][:1] == b"}":
            # The text between is one array and nothing else, or it does not decode.
            return _decode_many(body[envelope.end() : end])
    return [_decode_one(body)] if first == b"{" else _decode_many(body)


def _parse_exactly(
    body: bytes, *, ndjson: bool, lenient: bool, limits: Limits, flatten: bool
) -> Batch:
    entries = (_ndjson_entries if ndjson else _json_entries)(body, limits, flatten=flatten)
    return _check_entries(entries, lenient=lenient, limits=limits)


class _Entry(NamedTuple):
    """The text of one event and its mask, or why it is malformed."""

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
        raise InvalidRequest(_summary(errors, rejected, len(entries)), errors[:MAX_REPORTED_ERRORS])
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
        raise TooLarge(f"more than {limits.max_events} events in one request, which is the limit")
    if not count:
        raise InvalidRequest("the batch is empty; send at least one event")


def _lines(body: bytes) -> Iterator[bytes]:
    return (line[0] for line in _LINE.finditer(body))


def _ndjson_entries(body: bytes, limits: Limits, *, flatten: bool) -> list[_Entry]:
    lines = islice(_lines(body), limits.max_events + 1)
    return [_ndjson_entry(line, index, flatten=flatten) for index, line in enumerate(lines)]


def _ndjson_entry(line: bytes, index: int, *, flatten: bool) -> _Entry:
    try:
        raw, masked = _readable(line, flatten=flatten)
    except MalformedBody as error:
        hint = _hint(line, error, ndjson=True)
        return _Entry(b"", None, f"the event at index {index} is not JSON: {error}{hint}")
    return _Entry(raw, masked)


def _json_entries(body: bytes, limits: Limits, *, flatten: bool) -> list[_Entry]:
    try:
        body, masked = _readable(body, flatten=flatten)
    except MalformedBody as error:
        hint = _hint(body, error, ndjson=False)
        raise MalformedBody(f"the body is not JSON: {error}{hint}") from error
    if body[:1] == b"[":
        return _array_entries(body, masked, limits)
    if body[:1] != b"{":
        raise InvalidRequest(
            f"the body must be an event, an array of events or an envelope, not {kind_of(body)}"
        )
    members = _decode_envelope(body)
    if members.events is msgspec.UNSET:
        return [_Entry(body, masked)]
    events = bytes(members.events)
    if not _is_only_member(body, events):
        raise InvalidRequest('"events" must be the only member of an envelope, given once')
    if events[:1] != b"[":
        raise InvalidRequest(f'"events" must be an array of events, not {kind_of(events)}')
    return _array_entries(events, masked, limits)


def _array_entries(array: bytes, masked: Masked | None, limits: Limits) -> list[_Entry]:
    if has_far_more_members(array, limits.max_events):
        _check_count(limits.max_events + 1, limits)
    members = _decode_array(array)
    _check_count(len(members), limits)
    return [_Entry(bytes(raw), masked) for raw in members]


def _readable(text: bytes, *, flatten: bool) -> tuple[bytes, Masked | None]:
    """Return the JSON text without white space around it, and its mask if it needed one."""
    try:
        text.decode()
        masked = Masked(text, flatten=True) if flatten else None
        return bytes(_decode_any(masked.body if masked else text)).strip(_WHITE_SPACE), masked
    except UnicodeDecodeError as error:
        raise MalformedBody(f"not UTF-8 at byte {error.start}") from error
    except msgspec.DecodeError as error:
        if flatten or not may_have_lone_surrogate(text):
            raise MalformedBody(str(error)) from error
    masked = Masked(text, flatten=False)
    try:
        return bytes(_decode_any(masked.body)).strip(_WHITE_SPACE), masked
    except msgspec.DecodeError as error:
        raise MalformedBody(str(error)) from error


def _hint(text: bytes, error: MalformedBody, *, ndjson: bool) -> str:
    """Return the likely cause and the remedy for a text that is not JSON, or an empty text."""
    if text.startswith(_BYTE_ORDER_MARK):
        return "; it begins with a byte order mark (EF BB BF): take that out"
    trailing = _TRAILING.search(str(error))
    if trailing is None or text[int(trailing[1]) - 1 :][:1] != b"{":
        return ""
    if ndjson:
        return (
            "; another event follows in the same line, and each needs a line of its own "
            "(curl -d takes newlines out of a file, --data-binary keeps them)"
        )
    return (
        "; another event follows: send an array of them, or one a line with "
        "Content-Type: application/x-ndjson"
    )


def _is_only_member(body: bytes, value: bytes) -> bool:
    """Return whether an object has a single member, with `value` as the text of its value.

    Decoding would return the last of a repeated name, and skip the events of the others.
    """
    first = _FIRST_MEMBER.match(body)
    rest = body[first.end() :] if first else b""
    return rest.startswith(value) and rest[len(value) :].strip(_WHITE_SPACE) == b"}"
