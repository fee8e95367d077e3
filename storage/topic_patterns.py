"""Topic selections: names of topics and patterns for them.

In a pattern `*` stands for a whole part between dots, an empty one too, and `**` at its end for one
part or more.
"""

import re
from collections.abc import Iterable, Sequence

_PART, _REST = "*", "**"


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


def is_pattern(text: str) -> bool:
    """Return whether a text that selects topics is a pattern and no name."""
    return _PART in text


def least_prefixes(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Return the prefixes without those that begin with another one, which has their names, too."""
    least: list[str] = []
    # In byte order a prefix is ahead of those that begin with it.
    for prefix in sorted(prefixes):
        if not least or not prefix.startswith(least[-1]):
            least.append(prefix)
    return tuple(least)


def _expression(pattern: str) -> str:
    parts = {_PART: "[^.]*", _REST: ".*"}
    return r"\.".join(parts.get(part, re.escape(part)) for part in pattern.split("."))
