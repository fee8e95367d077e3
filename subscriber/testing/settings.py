"""The settings of a subscription as `PUT /subscriptions/{name}` takes them, with its rules."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from storage.subscriptions.model import OnDead, Order, SubscriptionSettings
from subscriber.testing.beginnings import parse_beginning
from subscriber.testing.rules import (
    name_rule_broken,
    number_rule_broken,
    one_of,
    refuse,
    selection_rule_broken,
    shown,
    whole_number,
)

_MAX_TOPICS = 100
_MAX_BACKOFFS = 100
MIN_LEASE_MS, MAX_LEASE_MS = 1000, 43_200_000
MAX_BACKOFF_MS = 86_400_000


def parse_settings(settings: Mapping[str, Any], now_us: int) -> SubscriptionSettings:
    """Parse the settings of a subscription.

    Args:
        settings: as JSON has them.
        now_us: the time.

    Returns:
        Valid settings, with the defaults of those that are not given.

    Raises:
        SubscriptionRefused: they break a rule.
    """
    if not isinstance(settings, Mapping):
        refuse(f"the settings must be an object, not {shown(settings)}")
    for field in settings:
        if field not in _PARSERS and field != "from":
            known = ", ".join(["from", *_PARSERS])
            refuse(f"the settings are invalid: {field} is unknown here; known are {known}")
    if "topics" not in settings:
        refuse("the settings are invalid: topics is missing")
    given = {
        field: parse(field, settings[field])
        for field, parse in _PARSERS.items()
        if field in settings
    }
    begins = parse_beginning("from", settings.get("from", "now"), now_us)
    parsed = SubscriptionSettings(begins=begins, **given)
    if (broken := parsed.rule_broken()) is not None:
        refuse(f"the settings are invalid: {broken}")
    return parsed


def settings_members(settings: SubscriptionSettings) -> dict[str, Any]:
    """Return settings as `GET /subscriptions/{name}` gives them."""
    members: dict[str, Any] = msgspec.to_builtins(settings)
    begins = members.pop("begins")
    members["topics"] = list(members["topics"])
    members["backoff_ms"] = list(members["backoff_ms"])
    return {"topics": members.pop("topics"), "from": begins.get("at", begins), **members}


def _topics(field: str, value: object) -> tuple[str, ...]:
    topics = set()
    for each in _array(field, value):
        if broken := selection_rule_broken(each):
            refuse(f"{field} holds a name that {broken}")
        topics.add(str(each))
    if not 1 <= len(topics) <= _MAX_TOPICS:
        refuse(f"{field} must hold 1 to {_MAX_TOPICS} names and patterns, not {len(topics)}")
    return tuple(sorted(topics))


def _source(field: str, value: object) -> str | None:
    if value is not None and (broken := name_rule_broken(value)):
        refuse(f"{field} {broken}")
    return None if value is None else str(value)


def _backoffs(field: str, value: object) -> tuple[int, ...]:
    backoffs = _array(field, value)
    if not 1 <= len(backoffs) <= _MAX_BACKOFFS:
        refuse(f"{field} must hold 1 to {_MAX_BACKOFFS} numbers, not {len(backoffs)}")
    for each in backoffs:
        if broken := number_rule_broken(each, 0, MAX_BACKOFF_MS):
            refuse(f"{field} holds one that {broken}")
    return tuple(int(str(each)) for each in backoffs)


def _array(field: str, value: object) -> list[object]:
    if not isinstance(value, (list, tuple)):
        refuse(f"{field} must be an array, not {shown(value)}")
    return list(value)


def _within(low: int, high: int) -> Callable[[str, object], int]:
    return lambda field, value: whole_number(field, value, low, high)


_PARSERS: Mapping[str, Callable[[str, Any], Any]] = {
    "topics": _topics,
    "source": _source,
    "order": lambda field, value: one_of(field, value, Order),
    "lease_ms": _within(MIN_LEASE_MS, MAX_LEASE_MS),
    "max_deliveries": _within(1, 1000),
    "backoff_ms": _backoffs,
    "on_dead": lambda field, value: one_of(field, value, OnDead),
    "stop_after_dead": lambda field, value: (
        None if value is None else whole_number(field, value, 1, 1_000_000)
    ),
    "max_leased": _within(1, 100_000),
}
"""By field, what parses its value or refuses it."""
