"""The parsing of answers about subscriptions."""

import re
from collections.abc import Iterator

import msgspec

from publisher.refusals import one_line
from subscriber.calls.requests import Delivered, Leased, Settings, Settled

_ESCAPE = re.compile(rb"\\(?:u[dD][89a-fA-F][0-9a-fA-F]{2}|.)", re.DOTALL)
_SURROGATE_BYTES = 6
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class NotOfSubscriptions(ValueError):
    """An answer is not what an aggregator gives; the message says what is wrong."""


class _Delivery(msgspec.Struct, gc=False):
    delivery: int
    event: msgspec.Raw


class _Lag(msgspec.Struct):
    events: int
    seconds: float


class _Settled(msgspec.Struct):
    acknowledged: int
    retried: int
    dead: int
    released: int
    expires_in_ms: int | None


class _Leased(msgspec.Struct):
    lease: str | None
    expires_in_ms: int | None
    deliveries: list[_Delivery]
    lag: _Lag
    settled: _Settled | None = None


class _Place(msgspec.Struct, gc=False):
    topic: str
    offset: int


class _SettingsMember(msgspec.Struct):
    order: str
    lease_ms: int


class _Subscription(msgspec.Struct):
    settings: _SettingsMember
    reason: str | None = None


class _Code(msgspec.Struct):
    code: str = ""


_decode_leased = msgspec.json.Decoder(_Leased).decode
_decode_settled = msgspec.json.Decoder(_Settled).decode
_decode_place = msgspec.json.Decoder(_Place).decode
_decode_subscription = msgspec.json.Decoder(_Subscription).decode
_decode_code = msgspec.json.Decoder(_Code).decode


def parse_leased(answer: bytes) -> Leased:
    """Parse the answer to a request for a lease.

    Raises:
        NotOfSubscriptions: it is no such answer.
    """
    try:
        leased = _decode_leased(answer)
        deliveries = [_delivered(each, bytes(each.event)) for each in leased.deliveries]
    except _UNDECODABLE:
        # Payloads may hold lone surrogates, which JSON allows and msgspec does not.
        leased, deliveries = _parse_masked(answer)
    if leased.lease is not None and (leased.expires_in_ms is None or not deliveries):
        raise NotOfSubscriptions("a lease has no end, or no deliveries")
    return Leased(
        leased.lease,
        (leased.expires_in_ms or 0) / 1000,
        deliveries,
        leased.lag.events,
        leased.lag.seconds,
        None if leased.settled is None else _settled(leased.settled),
    )


def parse_settled(answer: bytes) -> Settled:
    """Parse the answer to a settle.

    Raises:
        NotOfSubscriptions: it is no such answer.
    """
    try:
        return _settled(_decode_settled(answer))
    except _UNDECODABLE as error:
        raise _foreign("settle", error) from error


def parse_settings(answer: bytes) -> Settings:
    """Parse what a consumer goes by of a subscription.

    Raises:
        NotOfSubscriptions: it is no subscription.
    """
    try:
        subscription = _decode_subscription(answer)
    except _UNDECODABLE as error:
        raise _foreign("subscription", error) from error
    settings = subscription.settings
    return Settings(settings.order == "topic", settings.lease_ms, subscription.reason)


def code_of(answer: bytes) -> str:
    """Return the `code` of a problem; empty if there is none."""
    try:
        return _decode_code(answer).code
    except _UNDECODABLE:
        return ""


def _parse_masked(answer: bytes) -> tuple[_Leased, list[Delivered]]:
    masked = _ESCAPE.sub(_mask, answer)
    try:
        leased = _decode_leased(masked)
        events = _unmasked(answer, masked, leased)
        return leased, [
            _delivered(each, event) for each, event in zip(leased.deliveries, events, strict=True)
        ]
    except _UNDECODABLE as error:
        raise _foreign("lease", error) from error


def _mask(found: re.Match[bytes]) -> bytes:
    # As long as what it stands for, so that every place stays where it is.
    return rb"\ufffd" if len(found[0]) == _SURROGATE_BYTES else found[0]


def _unmasked(answer: bytes, masked: bytes, leased: _Leased) -> Iterator[bytes]:
    end = 0
    for delivery in leased.deliveries:
        event = bytes(delivery.event)
        begin = masked.index(event, end)
        end = begin + len(event)
        yield answer[begin:end]


def _delivered(delivery: _Delivery, event: bytes) -> Delivered:
    place = _decode_place(delivery.event)
    return Delivered(place.topic, place.offset, delivery.delivery, event)


def _settled(settled: _Settled) -> Settled:
    expires_in_ms = settled.expires_in_ms
    return Settled(
        settled.acknowledged,
        settled.retried,
        settled.dead,
        settled.released,
        None if expires_in_ms is None else expires_in_ms / 1000,
    )


def _foreign(what: str, error: Exception) -> NotOfSubscriptions:
    reason = one_line(str(error))
    return NotOfSubscriptions(f"not the answer of an aggregator to a {what}: {reason}")
