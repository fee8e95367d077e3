"""The body of a settle, written twice: once for speed, once for exact errors.

msgspec decodes it, and only one that it refuses, or that breaks a rule that it can't check, is read
exactly.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from aggregator.wire.errors import InvalidRequest
from aggregator.wire.json_fields import FieldCheck, parse_object
from aggregator.wire.lease_token import TokenUnreadable, parse_token
from aggregator.wire.subscription_entries import (
    MAX_ENTRIES,
    Offset,
    parse_ranges,
    read_entries,
)
from aggregator.wire.subscription_settings import MAX_BACKOFF_MS, MAX_LEASE_MS, MIN_LEASE_MS
from storage.subscriptions.commands import Death, Range, Retry, Token

_MAX_ERROR_CHARACTERS = 4000
_PARTS = ("ack", "retry", "dead", "release")
_BAD_TOKEN = "is not one that a lease gave; take the text of `lease` as it is"  # noqa: S105


class SettleRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A settle that is asked for; see `storage.subscriptions.commands.Settle`."""

    token: Token
    ack: Sequence[Range] = ()
    retry: Sequence[Retry] = ()
    dead: Sequence[Death] = ()
    release: Sequence[Range] = ()
    extend_ms: int | None = None


class _SentRetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    topic: str
    offset: Offset
    after_ms: Annotated[int, Meta(ge=0, le=MAX_BACKOFF_MS)] | None = None
    error: str | None = None


class _SentDeath(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    topic: str
    offset: Offset
    error: str | None = None


class SentSettle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A settle as msgspec decodes it."""

    lease: str
    ack: list[tuple[str, Offset, Offset]] = []
    retry: list[_SentRetry] = []
    dead: list[_SentDeath] = []
    release: list[tuple[str, Offset, Offset]] = []
    extend_ms: Annotated[int, Meta(ge=MIN_LEASE_MS, le=MAX_LEASE_MS)] | None = None


_decode_settle = msgspec.json.Decoder(SentSettle).decode


def parse_settle(body: bytes) -> SettleRequest:
    """Parse the body of a settle.

    Raises:
        MalformedBody: it is no JSON.
        InvalidRequest: it breaks a rule.
    """
    try:
        request = settle_sent(_decode_settle(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        request = None
    if request is None:
        # The slower parser is exact, and names the rule.
        check = FieldCheck(parse_object(body))
        request = read_settle(check)
        check.finish()
    assert request is not None  # noqa: S101 - or its error was raised
    return request


def settle_sent(sent: SentSettle) -> SettleRequest | None:
    """Return a settle that was decoded; None if it breaks a rule that decoding can't check.

    Raises:
        InvalidRequest: it has too many entries.
    """
    if any(first > last for _, first, last in (*sent.ack, *sent.release)):
        return None
    try:
        token = parse_token(sent.lease)
    except TokenUnreadable:
        return None
    _check_count(sent.ack, sent.retry, sent.dead, sent.release)
    return SettleRequest(
        token=token,
        ack=sent.ack,
        retry=[
            Retry(each.topic, each.offset, each.after_ms, kept_error(each.error))
            for each in sent.retry
        ],
        dead=[Death(each.topic, each.offset, kept_error(each.error)) for each in sent.dead],
        release=sent.release,
        extend_ms=sent.extend_ms,
    )


def read_settle(check: FieldCheck) -> SettleRequest | None:
    """Read a settle exactly; None if its token breaks a rule.

    Args:
        check: of the object; rules that are broken are recorded there.

    Raises:
        InvalidRequest: it has too many entries.
    """
    check.only(("lease", *_PARTS, "extend_ms"))
    token = None
    if (text := check.text("lease")) is not None:
        try:
            token = parse_token(text)
        except TokenUnreadable:
            check.add_error("lease", _BAD_TOKEN)
    _check_count(*(check.array(part) for part in _PARTS))
    extend_ms = None
    if check.members.get("extend_ms") is not None:
        extend_ms = check.whole_number("extend_ms", MIN_LEASE_MS, MAX_LEASE_MS, MIN_LEASE_MS)
    retry = [
        Retry(
            topic,
            offset,
            None
            if entry.members.get("after_ms") is None
            else entry.whole_number("after_ms", 0, MAX_BACKOFF_MS, 0),
            _error(entry),
        )
        for entry, topic, offset in read_entries(check, "retry", ("after_ms", "error"))
    ]
    dead = [
        Death(topic, offset, _error(entry))
        for entry, topic, offset in read_entries(check, "dead", ("error",))
    ]
    ack, release = parse_ranges(check, "ack"), parse_ranges(check, "release")
    if token is None:
        return None
    return SettleRequest(
        token=token, ack=ack, retry=retry, dead=dead, release=release, extend_ms=extend_ms
    )


def kept_error(text: str | None) -> str | None:
    """Return what is kept of the text of an error.

    It is cut, and what no database keeps is replaced: what went wrong is no reason to refuse a
    settle.
    """
    if text is None:
        return None
    text = text[:_MAX_ERROR_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _error(entry: FieldCheck) -> str | None:
    if entry.members.get("error") is None:
        return None
    return kept_error(entry.text("error"))


def _check_count(*parts: Sequence[object]) -> None:
    if (count := sum(map(len, parts))) > MAX_ENTRIES:
        raise InvalidRequest(
            f"{count} entries are more than {MAX_ENTRIES}, which is the limit; send fewer at a time"
        )
