"""Patterns of a right: which names it is about, and which other patterns lie within it."""

from collections.abc import Sequence
from functools import lru_cache

from storage.topic_patterns import TopicSelection, is_pattern

_PART, _REST = "*", "**"
_OTHER_PART = "?"
"""A part between dots that no name and no pattern has, for `?` is not allowed in them. It stands
for any part that no pattern names."""
_CACHED_PATTERNS = 1024


class Patterns:
    """The names that an entry's list of names and patterns is about.

    Args:
        wanted: names and patterns, each valid.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self.wanted = tuple(dict.fromkeys(wanted))
        """The names and patterns, each once."""
        self._names = frozenset(each for each in self.wanted if not is_pattern(each))
        patterns = [each for each in self.wanted if is_pattern(each)]
        self._selection = TopicSelection(patterns) if patterns else None
        self._longest = max((each.count(".") + 1 for each in self.wanted), default=0)
        # A subscription asks about the same few patterns at each of its leases.
        self._covers = lru_cache(_CACHED_PATTERNS)(self._decide)

    def __bool__(self) -> bool:
        return bool(self.wanted)

    def matches(self, name: str) -> bool:
        """Return whether a name, which is not empty, is one of them."""
        if name in self._names:
            return True
        return self._selection is not None and self._selection.matches(name)

    def covers(self, pattern: str) -> bool:
        """Return whether every name that a pattern stands for is one of them.

        This is decided for names of any length: that no topic has more than 249 characters is
        not made use of.

        Args:
            pattern: a name or a pattern, valid.
        """
        return self._covers(pattern)

    def rule_for(self, name: str) -> str | None:
        """Return the first of the names and patterns that a name is selected by, or None."""
        return next((each for each in self.wanted if Patterns([each]).matches(name)), None)

    def _decide(self, pattern: str) -> bool:
        *parts, last = (_OTHER_PART if part == _PART else part for part in pattern.split("."))
        if last != _REST:
            return self.matches(".".join([*parts, last]))
        # A part that no pattern names fits the fewest of them, so it is enough to try that one.
        # Names with more parts than any pattern has all fit the same patterns.
        most = max(self._longest - len(parts) + 1, 1)
        return all(
            self.matches(".".join([*parts, *[_OTHER_PART] * count])) for count in range(1, most + 1)
        )
