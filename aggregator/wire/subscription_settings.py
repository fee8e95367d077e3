"""The settings of a subscription as JSON: bodies of `PUT` and `PATCH`, and the part of answers."""

import time
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from aggregator.wire.event_rules import name_rule_broken, topic_rule_broken
from aggregator.wire.json_fields import (
    FieldCheck,
    kind_of_value,
    number_rule_broken,
    parse_object,
    shown,
)
from aggregator.wire.query_parameters import is_duration, parse_since
from aggregator.wire.timestamps import render_timestamp
from aggregator.wire.topic_selection import selection_rule_broken
from storage.model import INT64_MAX
from storage.subscriptions.commands import Change
from storage.subscriptions.model import Beginning, OnDead, Order, SubscriptionSettings

MAX_TOPICS = 100
MAX_BACKOFFS = 100
MAX_BACKOFF_MS = 86_400_000
MIN_LEASE_MS = 1000
MAX_LEASE_MS = 43_200_000

_RANGES = {
    "lease_ms": (MIN_LEASE_MS, MAX_LEASE_MS),
    "max_deliveries": (1, 1000),
    "max_leased": (1, 100_000),
}
_MAX_STOP_AFTER_DEAD = 1_000_000
_FIXED = ("from", "order")
_CHANGEABLE = (
    "topics", "source", "lease_ms", "max_deliveries", "backoff_ms", "on_dead", "stop_after_dead",
    "max_leased",
)  # fmt: skip
_INVALID = "the settings are invalid"
_FROM_FORMS = '"start", "now", {"since": TIME} or {"offsets": {TOPIC: OFFSET}}'

_Choice = TypeVar("_Choice", Order, OnDead)


def subscription_name_rule_broken(name: str) -> str | None:
    """Return the rule that the name of a subscription breaks, or None."""
    if name in {".", ".."}:
        return f"must not be {name!r}, which means a folder in a path"
    return topic_rule_broken(name)


def parse_settings(body: bytes) -> SubscriptionSettings:
    """Parse the body of a `PUT`.

    Args:
        body: one JSON object.

    Returns:
        Valid settings, with the defaults of those that are not given.

    Raises:
        MalformedBody: it is no JSON.
        InvalidRequest: it breaks a rule.
    """
    check = FieldCheck(parse_object(body))
    check.only(("topics", *_FIXED, *_CHANGEABLE[1:]))
    check.given("topics", required=True)
    given = _given_settings(check)
    if check.given("from"):
        given["begins"] = parse_beginning(check, "from")
    if check.given("order"):
        given["order"] = _choice(check, "order", Order.TOPIC)
    if check.errors:
        check.finish(_INVALID)
    settings = SubscriptionSettings(**given)  # type: ignore[arg-type]
    if broken := settings.rule_broken():
        # It speaks of the field by its name.
        check.add_error("on_dead", broken.removeprefix("on_dead "))
    check.finish(_INVALID)
    return settings


def parse_change(name: str, body: bytes) -> Change:
    """Parse the body of a `PATCH`.

    Args:
        name: of the subscription.
        body: one JSON object.

    Returns:
        The change, without heads.

    Raises:
        MalformedBody: it is no JSON.
        InvalidRequest: it breaks a rule.
    """
    check = FieldCheck(parse_object(body))
    check.only((*_CHANGEABLE, *_FIXED))
    for fixed in _FIXED:
        if check.given(fixed):
            check.add_error(
                fixed, "can't be changed; seek moves a subscription, and another one has its own"
            )
    given = _given_settings(check)
    check.finish(_INVALID)
    return Change(name=name, **given)  # type: ignore[arg-type]


def _given_settings(check: FieldCheck) -> dict[str, object]:
    """Return the settings that may be changed, of those that are given."""
    given: dict[str, object] = {}
    if check.given("topics"):
        given["topics"] = _topics(check)
    if check.given("source"):
        given["source"] = None if check.members["source"] is None else _source(check)
    for name, (low, high) in _RANGES.items():
        if check.given(name):
            given[name] = check.whole_number(name, low, high, low)
    if check.given("backoff_ms"):
        given["backoff_ms"] = _backoffs(check)
    if check.given("on_dead"):
        given["on_dead"] = _choice(check, "on_dead", OnDead.CONTINUE)
    if check.given("stop_after_dead"):
        name = "stop_after_dead"
        stops = check.members[name] is not None
        given[name] = check.whole_number(name, 1, _MAX_STOP_AFTER_DEAD, 1) if stops else None
    return given


def _topics(check: FieldCheck) -> tuple[str, ...]:
    topics: set[str] = set()
    for each in check.array("topics"):
        if not isinstance(each, str):
            check.add_error("topics", f"must hold strings, not {kind_of_value(each)}")
        elif broken := selection_rule_broken(each):
            check.add_error("topics", f"holds a name that {broken}")
        else:
            topics.add(each)
    if not 1 <= len(topics) <= MAX_TOPICS and not check.errors:
        rule = f"must hold 1 to {MAX_TOPICS} names and patterns, not {len(topics)}"
        check.add_error("topics", rule)
    return tuple(sorted(topics))


def _source(check: FieldCheck) -> str | None:
    source = check.text("source")
    if source is not None and (broken := name_rule_broken(source)):
        check.add_error("source", broken)
    return source


def _backoffs(check: FieldCheck) -> tuple[int, ...]:
    sent = check.array("backoff_ms")
    if not 1 <= len(sent) <= MAX_BACKOFFS and isinstance(check.members["backoff_ms"], list):
        check.add_error("backoff_ms", f"must hold 1 to {MAX_BACKOFFS} numbers, not {len(sent)}")
        return ()
    for each in sent:
        if broken := number_rule_broken(each, 0, MAX_BACKOFF_MS):
            check.add_error("backoff_ms", f"holds one that {broken}")
    return tuple(each for each in sent if isinstance(each, int))


def _choice(check: FieldCheck, name: str, default: _Choice) -> _Choice:
    value = check.members[name]
    for each in type(default):
        if value == each.value:
            return each
    known = " or ".join(f'"{each.value}"' for each in type(default))
    check.add_error(name, f"must be {known}, not {shown(value)}")
    return default


def parse_beginning(check: FieldCheck, name: str) -> Beginning:
    """Parse where a subscription begins.

    Args:
        check: of the object that it is a member of.
        name: of the member, which is there.

    Returns:
        The beginning; any, if it breaks a rule.
    """
    value = check.members[name]
    beginning = Beginning(at="now")
    if value in ("start", "now"):
        beginning = Beginning(at=str(value))
    elif not isinstance(value, dict) or value.keys() not in ({"since"}, {"offsets"}):
        what = shown(value) if not isinstance(value, dict) else f"an object of {len(value)} members"
        if isinstance(value, dict) and len(value) == 1:
            what = f"an object of {shown(next(iter(value)))}"
        check.add_error(name, f"must be {_FROM_FORMS}, not {what}")
    elif "since" in value:
        beginning = Beginning(since=_since(check, name, value["since"]))
    else:
        beginning = Beginning(offsets=_offsets(check, name, value["offsets"]))
    return beginning


def _since(check: FieldCheck, name: str, value: object) -> str:
    if not isinstance(value, str):
        check.add_error(f"{name}.since", f"must be a string, not {kind_of_value(value)}")
        return ""
    try:
        time_us = parse_since(value, time.time_ns() // 1000)
    except ValueError as error:
        check.add_error(
            f"{name}.since",
            f"{shown(value)} {error} (a duration back from now is a whole number and s, m, h or d)",
        )
        return ""
    return value if is_duration(value) else render_timestamp(time_us)


def _offsets(check: FieldCheck, name: str, value: object) -> Mapping[str, int]:
    field = f"{name}.offsets"
    if not isinstance(value, dict):
        check.add_error(field, f"must be an object, not {kind_of_value(value)}")
        return {}
    for topic, offset in value.items():
        if broken := topic_rule_broken(topic):
            check.add_error(field, f"names a topic that {broken}")
        elif broken := number_rule_broken(offset, 0, INT64_MAX):
            check.add_error(field, f"has an offset of {topic[:64]!r} that {broken}")
    return value


def settings_members(settings: SubscriptionSettings) -> dict[str, object]:
    """Return settings as an answer has them."""
    begins = settings.begins
    members: dict[str, object] = {"topics": settings.topics}
    members["from"] = begins.at if begins.at is not None else msgspec.to_builtins(begins)
    members |= {name: getattr(settings, name) for name in ("source", "order", *_CHANGEABLE[2:])}
    return members
