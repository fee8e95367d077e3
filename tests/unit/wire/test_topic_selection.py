"""Patterns of topics, against a matcher that goes part by part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.wire.topic_selection import selection_rule_broken
from storage.topic_patterns import TopicSelection

_PARTS = st.lists(st.sampled_from(["", "a", "b", "ab"]), min_size=1, max_size=4)
_NAMES = _PARTS.map(".".join).filter(bool)
_PATTERNS = st.builds(
    lambda parts, last: ".".join([*parts, last]),
    st.lists(st.sampled_from(["", "a", "b", "*"]), max_size=3),
    st.sampled_from(["", "a", "b", "*", "**"]),
).filter(bool)


def fits(pattern: list[str], name: list[str]) -> bool:
    """Whether parts of a name fit those of a pattern."""
    if pattern == ["**"]:
        return len(name) >= 1
    if not pattern or not name:
        return pattern == name
    return pattern[0] in {"*", name[0]} and fits(pattern[1:], name[1:])


@given(st.lists(_PATTERNS, min_size=1, max_size=3), _NAMES)
def test_a_name_is_selected_if_it_fits_one_of_them(patterns: list[str], name: str) -> None:
    assert all(selection_rule_broken(pattern) is None for pattern in patterns)
    selection = TopicSelection(patterns)
    wanted = any(fits(pattern.split("."), name.split(".")) for pattern in patterns)
    assert selection.matches(name) == wanted
    fitted = [p for p in patterns if "*" in p and fits(p.split("."), name.split("."))]
    if fitted:
        assert any(name.startswith(prefix) for prefix in selection.prefixes)
    for prefix in selection.prefixes:
        others = [other for other in selection.prefixes if other != prefix]
        assert not any(prefix.startswith(other) for other in others)


@pytest.mark.parametrize("wrong", ["a*", "*a", "**.a", "***", "a.*b.c", "a b.*", "", "*.é", "*\n"])
def test_other_uses_of_an_asterisk_are_none(wrong: str) -> None:
    assert selection_rule_broken(wrong) is not None


def test_one_topic_is_one_name() -> None:
    assert TopicSelection(["a", "a"]).one_topic == "a"
    assert TopicSelection(["a", "b"]).one_topic is None
    assert TopicSelection(["a", "b.*"]).one_topic is None
    assert TopicSelection(["b.*"]).one_topic is None
