"""Hypothesis: names and patterns from small alphabets, and what they mean, part by part."""

import itertools
from collections.abc import Iterable

from hypothesis import strategies as st

PARTS = ("", "a", "b", "c")
"""Parts of names; no pattern names the last."""
MAX_PARTS = 5
"""One more than any pattern has."""

PATTERNS = st.builds(
    lambda parts, last: ".".join([*parts, last]),
    st.lists(st.sampled_from(["", "a", "b", "*"]), max_size=MAX_PARTS - 2),
    st.sampled_from(["", "a", "b", "*", "**"]),
).filter(bool)
LISTS = st.lists(PATTERNS, max_size=5).map(tuple)
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=MAX_PARTS).map(".".join).filter(bool)
EVERY_NAME = [
    ".".join(parts)
    for count in range(1, MAX_PARTS + 1)
    for parts in itertools.product(PARTS, repeat=count)
    if parts != ("",)
]


def fits(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern."""
    return _fit(pattern.split("."), name.split("."))


def fits_any(patterns: Iterable[str], name: str) -> bool:
    """Whether a name fits one of several patterns."""
    return any(fits(pattern, name) for pattern in patterns)


def _fit(pattern: list[str], name: list[str]) -> bool:
    if pattern == ["**"]:
        return len(name) >= 1
    if not pattern or not name:
        return pattern == name
    return pattern[0] in {"*", name[0]} and _fit(pattern[1:], name[1:])
