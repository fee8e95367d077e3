"""Topic selections: names of topics and patterns for them.

In a pattern `*` stands for a whole part between dots, an empty one too, and `**` at its end for one
part or more.
"""

import re
from collections.abc import Iterable, Sequence

from aggregator.wire.event_rules import topic_rule_broken

_MAX_PATTERN = 249
_PART, _REST = "*", "**"
_LITERAL_PART = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)

_PATTERN_RULE = (
    "must be the name of a topic, or a pattern of 1 to 249 characters whose parts between dots are "
    "names, * for a whole part, or at the end ** for one part or more"
)


class TopicSelection:
    """A selection of topics: those with some names, and those whose names fit some patterns.

    Args:
        wanted: names and patterns, each valid; a repeated one counts once.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self.names = tuple(dict.fromkeys(each for each in wanted if _PART not in each))
        """The topics that are named, whether they exist or not."""
        patterns = tuple(dict.fromkeys(each for each in wanted if _PART in each))
        self._fits = re.compile("|".join(map(_expression, patterns))).fullmatch
        self.prefixes = least_prefixes(pattern.partition(_PART)[0] for pattern in patterns)
        """What names that fit a pattern begin with; no prefix of these begins with another."""

    @property
    def one_topic(self) -> str | None:
        """The name, if it is one name and no pattern."""
        return self.names[0] if len(self.names) == 1 and not self.prefixes else None

    def matches(self, topic: str) -> bool:
        """Return whether a topic is selected."""
        return topic in self.names or self._fits(topic) is not None


def selection_rule_broken(text: str) -> str | None:
    """Return the rule that a name or a pattern breaks, or None."""
    if _PART not in text:
        return topic_rule_broken(text)
    *parts, last = text.split(".")
    fits = (
        len(text) <= _MAX_PATTERN
        and all(part == _PART or _LITERAL_PART.fullmatch(part) for part in parts)
        and (last in {_PART, _REST} or _LITERAL_PART.fullmatch(last))
    )
    return None if fits else f"{_PATTERN_RULE}, not {text[:64]!r}"


def _expression(pattern: str) -> str:
    parts = {_PART: "[^.]*", _REST: ".*"}
    return r"\.".join(parts.get(part, re.escape(part)) for part in pattern.split("."))


def least_prefixes(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Return the prefixes without those that begin with another one, which has their names, too."""
    least: list[str] = []
    # In byte order a prefix is ahead of those that begin with it.
    for prefix in sorted(prefixes):
        if not least or not prefix.startswith(least[-1]):
            least.append(prefix)
    return tuple(least)
