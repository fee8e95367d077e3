"""The rules that requests keep: names, patterns, numbers. A broken one is a refusal."""

import re
from collections.abc import Iterable
from typing import NoReturn, TypeVar

from storage.topic_patterns import is_pattern
from subscriber.errors import SubscriptionRefused

MAX_OFFSET = 2**63 - 1
MAX_ENTRIES = 10_000
"""Entries of one request at most."""

_MAX_PATTERN = 249
_is_topic = re.compile(rf"[A-Za-z0-9._-]{{1,{_MAX_PATTERN}}}", re.ASCII).fullmatch
_is_name = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,256}").fullmatch
_is_literal = re.compile(r"[A-Za-z0-9_-]*", re.ASCII).fullmatch
_PART, _REST = "*", "**"
_SHOWN = 64

Value = TypeVar("Value")


def refuse(sentence: str) -> NoReturn:
    """Refuse a request that breaks a rule."""
    raise SubscriptionRefused(422, sentence)


def shown(value: object) -> str:
    """Return a value for a sentence, cut if it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def topic_rule_broken(text: object) -> str | None:
    """Return the rule that the name of a topic breaks, or None."""
    if isinstance(text, str) and _is_topic(text):
        return None
    return f"must be 1 to 249 characters of A-Z a-z 0-9 . _ -, not {shown(text)}"


def name_rule_broken(text: object) -> str | None:
    """Return the rule that an event id, a source or the label of a consumer breaks, or None."""
    if isinstance(text, str) and _is_name(text):
        return None
    return f"must be 1 to 256 characters without control characters, not {shown(text)}"


def selection_rule_broken(text: object) -> str | None:
    """Return the rule that a name of a topic, or a pattern of names, breaks, or None."""
    if not isinstance(text, str) or not is_pattern(text):
        return topic_rule_broken(text)
    *parts, last = text.split(".")
    if (
        len(text) <= _MAX_PATTERN
        and all(part == _PART or _is_literal(part) for part in parts)
        and (last in {_PART, _REST} or _is_literal(last))
    ):
        return None
    return f"must be the name of a topic, or a pattern, not {shown(text)}"


def number_rule_broken(value: object, low: int, high: int) -> str | None:
    """Return the rule that a value breaks, if it is no whole number from `low` to `high`."""
    if type(value) is int and low <= value <= high:
        return None
    return f"must be a whole number from {low} to {high}, not {shown(value)}"


def whole_number(field: str, value: object, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`; refuse any other value."""
    if broken := number_rule_broken(value, low, high):
        refuse(f"{field} {broken}")
    return int(str(value))


def check_subscription_name(name: str) -> None:
    """Refuse a name that no subscription can have."""
    broken = f"must not be {name!r}" if name in {".", ".."} else topic_rule_broken(name)
    if broken:
        refuse(f"the name of a subscription {broken}")


def check_range(field: str, first: object, last: object) -> None:
    """Refuse a range of offsets that breaks a rule."""
    low = whole_number(f"an offset of {field}", first, 1, MAX_OFFSET)
    if low > whole_number(f"an offset of {field}", last, 1, MAX_OFFSET):
        refuse(f"{field} has a range that ends at {last}, before it begins at {first}")


def one_of(field: str, value: object, values: Iterable[Value]) -> Value:
    """Return the one of some values that equals a value; refuse any other."""
    known = list(values)
    for each in known:
        if each == value:
            return each
    refuse(f"{field} must be {' or '.join(map(str, known))}, not {shown(value)}")
