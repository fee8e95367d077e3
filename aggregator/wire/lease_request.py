"""The body of a lease, written twice: once for speed, once for exact errors.

msgspec decodes it, and only one that it refuses, or that breaks a rule that it can't check, is read
exactly.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from aggregator.wire.event_rules import name_rule_broken
from aggregator.wire.json_fields import FieldCheck, kind_of_value, parse_object
from aggregator.wire.settle_request import SentSettle, SettleRequest, read_settle, settle_sent

MAX_EVENTS = 10_000
MAX_WAIT_MS = 60_000
DEFAULT_EVENTS = 100


class LeaseRequest(msgspec.Struct, frozen=True):
    """A lease that is asked for.

    Args:
        consumer: the label.
        max_events: events at most.
        wait_ms: how long to wait for the first, in milliseconds.
        settle: what is settled ahead of it.
    """

    consumer: str
    max_events: int = DEFAULT_EVENTS
    wait_ms: int = 0
    settle: SettleRequest | None = None


class _SentLease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lease as msgspec decodes it."""

    consumer: str
    max_events: Annotated[int, Meta(ge=1, le=MAX_EVENTS)] = DEFAULT_EVENTS
    wait_ms: Annotated[int, Meta(ge=0, le=MAX_WAIT_MS)] = 0
    settle: SentSettle | None = None


_decode = msgspec.json.Decoder(_SentLease).decode


def parse_lease(body: bytes) -> LeaseRequest:
    """Parse the body of a lease.

    Raises:
        MalformedBody: it is no JSON.
        InvalidRequest: it breaks a rule.
    """
    try:
        sent = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The slower parser is exact, and names the rule.
        return _parse_exactly(body)
    settle = None if sent.settle is None else settle_sent(sent.settle)
    if name_rule_broken(sent.consumer) or (settle is None and sent.settle is not None):
        return _parse_exactly(body)
    return LeaseRequest(sent.consumer, sent.max_events, sent.wait_ms, settle)


def _parse_exactly(body: bytes) -> LeaseRequest:
    check = FieldCheck(parse_object(body))
    check.only(("consumer", "max_events", "wait_ms", "settle"))
    consumer = check.text("consumer")
    if consumer is not None and (broken := name_rule_broken(consumer)):
        check.add_error("consumer", broken)
    max_events = check.whole_number("max_events", 1, MAX_EVENTS, DEFAULT_EVENTS)
    wait_ms = check.whole_number("wait_ms", 0, MAX_WAIT_MS, 0)
    settle = None
    sent = check.members.get("settle")
    if isinstance(sent, dict):
        settle = read_settle(FieldCheck(sent, check.errors, within="settle."))
    elif sent is not None:
        check.add_error("settle", f"must be an object, not {kind_of_value(sent)}")
    check.finish()
    return LeaseRequest(consumer or "", max_events, wait_ms, settle)
