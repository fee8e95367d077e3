"""The rule of names of topics and of patterns for them, as a request gives them."""

import re

from aggregator.wire.event_rules import topic_rule_broken
from storage.topic_patterns import is_pattern

_MAX_PATTERN = 249
_PART, _REST = "*", "**"
_LITERAL_PART = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)

_PATTERN_RULE = (
    "must be the name of a topic, or a pattern of 1 to 249 characters whose parts between dots are "
    "names, * for a whole part, or at the end ** for one part or more"
)


def selection_rule_broken(text: str) -> str | None:
    """Return the rule that a name or a pattern breaks, or None."""
    if not is_pattern(text):
        return topic_rule_broken(text)
    *parts, last = text.split(".")
    fits = (
        len(text) <= _MAX_PATTERN
        and all(part == _PART or _LITERAL_PART.fullmatch(part) for part in parts)
        and (last in {_PART, _REST} or _LITERAL_PART.fullmatch(last))
    )
    return None if fits else f"{_PATTERN_RULE}, not {text[:64]!r}"
