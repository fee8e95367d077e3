"""The rules of one event, written twice: once for speed, once for exact errors.

msgspec decodes a whole body at once, and `valid_event` accepts only events that keep the rules.
An event that either refuses goes through `check_event`, which is exact and names every broken
rule. A Hypothesis test compares the two.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from aggregator.wire.errors import FieldError, TooLarge
from aggregator.wire.json_masking import Masked
from aggregator.wire.timestamps import parse_timestamp
from storage.model import Event

MAX_NESTING = 128
"""Levels of a payload, the payload itself being level 1."""

_MAX_REPORTED_FIELDS = 10
_MAX_DICT_MEMBERS = 1000
"""An object that may have more is not decoded to a dict, which would be many times its text."""

_MAX_TOPIC = 249
_MAX_NAME = 256
_CACHED_TOPICS = 4096


class Limits(NamedTuple):
    """Limits the size of a request.

    Args:
        max_body_bytes: greatest size of the body after decompression.
        max_events: greatest number of events.
        max_payload_bytes: greatest size of one payload.
    """

    max_body_bytes: int = 16 * 2**20
    max_events: int = 10_000
    max_payload_bytes: int = 2**20


class Published(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event as msgspec decodes it, which checks that exactly these fields are there.

    The patterns of msgspec for texts would take as long as all the rest of decoding.
    """

    topic: str
    event_id: str
    timestamp: str
    source: str
    payload: Raw


class _KnownFields(msgspec.Struct):
    """The fields of an event with any values; other fields are skipped, not kept."""

    topic: Raw | UnsetType = UNSET
    event_id: Raw | UnsetType = UNSET
    timestamp: Raw | UnsetType = UNSET
    source: Raw | UnsetType = UNSET
    payload: Raw | UnsetType = UNSET


class _OnlyKnownFields(_KnownFields, forbid_unknown_fields=True):
    """The fields of an event, refusing others."""


_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_FIELDS = ("topic", "event_id", "timestamp", "source", "payload")
_UNKNOWN_FIELD = "is not a field of an event; what else is to be kept goes into payload"
_TOPIC_RULE = "must be 1 to 249 characters of A-Z a-z 0-9 . _ -"
_NAME_RULE = "must be 1 to 256 characters without control characters"
_topic_match = re.compile(rf"[A-Za-z0-9._-]{{1,{_MAX_TOPIC}}}").fullmatch
_name_match = re.compile(rf"[^\x00-\x1f\x7f\ud800-\udfff]{{1,{_MAX_NAME}}}").fullmatch
_TYPES = {
    b'"': "a string",
    b"{": "an object",
    b"[": "an array",
    b"t": "a boolean",
    b"f": "a boolean",
    b"n": "null",
}

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_known_fields = msgspec.json.Decoder(_KnownFields).decode
_decode_only_known_fields = msgspec.json.Decoder(_OnlyKnownFields).decode
_decode_text = msgspec.json.Decoder(str).decode


class NeedsExactCheck(Exception):
    """`valid_event` did not accept an event; `check_event` decides whether it is valid."""


def valid_event(published: Published, limits: Limits) -> Event:
    """Check the rules that msgspec can't check.

    Args:
        published: the decoded event.
        limits: the limits of the request.

    Returns:
        The valid event.

    Raises:
        NeedsExactCheck: the event may be invalid.
        TooLarge: the payload is over its limit.
    """
    topic, event_id, source = published.topic, published.event_id, published.source
    payload = bytes(published.payload)
    if len(payload) > limits.max_payload_bytes:
        raise too_large_payload(len(payload), limits)
    if payload[:1] != b"{" or nests_too_deep(payload):
        raise NeedsExactCheck
    # The cache of topics keeps no long text. Printable text is allowed, and so is more.
    if not (
        (len(topic) <= _MAX_TOPIC and _is_topic(topic))
        and ((0 < len(event_id) <= _MAX_NAME and event_id.isprintable()) or _name_match(event_id))
        and ((0 < len(source) <= _MAX_NAME and source.isprintable()) or _name_match(source))
    ):
        raise NeedsExactCheck
    try:
        timestamp_us = parse_timestamp(published.timestamp)
    except ValueError as error:
        raise NeedsExactCheck from error
    return Event(topic, event_id, timestamp_us, source, payload.decode())


@lru_cache(_CACHED_TOPICS)
def _is_topic(text: str) -> bool:
    return _topic_match(text) is not None


def check_event(
    raw: bytes, index: int, limits: Limits, masked: Masked | None
) -> Event | list[FieldError]:
    """Parse one event exactly.

    Args:
        raw: a JSON text in UTF-8; a part of `masked.body` if that is given.
        index: the event's place in the request, for the errors.
        limits: the limits of the request.
        masked: the masked body, if it needed masking.

    Returns:
        The event, or every rule that it breaks.

    Raises:
        TooLarge: the payload is over its limit, whatever other rules are broken.
    """
    check = _Check(index, limits, masked)
    if kind_of(raw) != "an object":
        return [FieldError(index, "", f"must be an object, not {kind_of(raw)}")]
    if raw.count(b",") < _MAX_DICT_MEMBERS:
        fields = _decode_fields(raw)
    else:
        known = _decode_known_fields(raw)
        fields = {
            field: value for field in _FIELDS if (value := getattr(known, field)) is not UNSET
        }
        check.only_known(raw)
    check.unknown(fields.keys() - set(_FIELDS))
    texts = {field: check.text(fields, field) for field in _FIELDS[:4]}
    timestamp_us = check.time(texts["timestamp"])
    payload = check.payload(fields)
    if check.errors:
        return check.errors
    return Event(texts["topic"], texts["event_id"], timestamp_us, texts["source"], payload)


class _Check:
    """Collects the rules that one event breaks."""

    def __init__(self, index: int, limits: Limits, masked: Masked | None) -> None:
        self.errors: list[FieldError] = []
        self._index = index
        self._limits = limits
        self._masked = masked

    def _add_error(self, field: str, message: str) -> None:
        self.errors.append(FieldError(self._index, field, message))

    def only_known(self, raw: bytes) -> None:
        try:
            _decode_only_known_fields(raw)
        except msgspec.ValidationError:
            self._add_error("", f"has a field that {_UNKNOWN_FIELD}")

    def unknown(self, names: set[str]) -> None:
        for name in sorted(names)[:_MAX_REPORTED_FIELDS]:
            shown = name
            if self._masked and self._masked.has_surrogate(name.encode()):
                shown = "\N{REPLACEMENT CHARACTER}"
            self._add_error(shown[:64], _UNKNOWN_FIELD)

    def text(self, fields: dict[str, Raw], field: str) -> str:
        if field not in fields:
            self._add_error(field, "is missing")
            return ""
        raw = bytes(fields[field])
        if raw[:1] != b'"' or (self._masked and self._masked.has_deep(raw)):
            self._add_error(field, f"must be a string, not {kind_of(raw)}")
            return ""
        if self._masked and self._masked.has_surrogate(raw):
            self._add_error(field, "must not hold a lone surrogate")
            return ""
        text = _decode_text(raw)
        if field != "timestamp":
            broken = topic_rule_broken(text) if field == "topic" else name_rule_broken(text)
            if broken:
                self._add_error(field, broken)
        return text

    def time(self, text: str) -> int:
        if any(error.field == "timestamp" for error in self.errors):
            return 0
        try:
            return parse_timestamp(text)
        except ValueError as error:
            self._add_error("timestamp", f"{_shown(text)} {error}")
            return 0

    def payload(self, fields: dict[str, Raw]) -> str:
        if "payload" not in fields:
            self._add_error("payload", "is missing")
            return ""
        raw = bytes(fields["payload"])
        size = self._masked.sent_size(raw) if self._masked else len(raw)
        if size > self._limits.max_payload_bytes:
            raise too_large_payload(size, self._limits)
        if raw[:1] != b"{":
            self._add_error("payload", f"must be an object, not {kind_of(raw)}")
        elif (self._masked and self._masked.has_deep(raw)) or nests_too_deep(raw):
            self._add_error("payload", f"must not nest deeper than {MAX_NESTING} levels")
        if self._masked:
            raw = self._masked.restore(raw)
        return raw.decode()


def topic_rule_broken(text: str) -> str | None:
    """Return the rule that a topic's name breaks, or None."""
    return None if _topic_match(text) else f"{_TOPIC_RULE}, not {_shown(text)}"


def name_rule_broken(text: str) -> str | None:
    """Return the rule that an event_id or a source breaks, or None."""
    return None if _name_match(text) else f"{_NAME_RULE}, not {_shown(text)}"


def nests_too_deep(payload: bytes) -> bool:
    """Return whether a JSON text nests deeper than `MAX_NESTING` levels."""
    if len(payload) <= 2 * MAX_NESTING:  # a level takes two brackets
        return False
    if payload.count(b"{") + payload.count(b"[") <= MAX_NESTING:
        return False
    brackets = _STRING.sub(b"", payload).translate(_BRACKETS, _NO_BRACKET)
    for _ in range(MAX_NESTING):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")  # removes the innermost level everywhere
    return bool(brackets)


def kind_of(raw: bytes) -> str:
    """Return the type of a JSON text, for the sentence of an error."""
    return _TYPES.get(raw.lstrip()[:1], "a number")


def too_large_payload(size: int, limits: Limits) -> TooLarge:
    """Build the error for a payload of `size` bytes."""
    return TooLarge(
        f"a payload of {size} bytes is over the limit of {limits.max_payload_bytes} bytes"
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:64] + "…")
