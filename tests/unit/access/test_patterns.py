"""Which names a list of patterns is about, and which patterns lie within it, by enumeration."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit.access.rights import EVERY_NAME, LISTS, NAMES, PATTERNS, fits, fits_any

from aggregator.access.patterns import Patterns
from aggregator.wire.topic_selection import selection_rule_broken


def within(pattern: str, patterns: Sequence[str]) -> bool:
    """Whether each of the names that fit a pattern fits one of others."""
    return all(fits_any(patterns, name) for name in EVERY_NAME if fits(pattern, name))


@given(LISTS, NAMES)
def test_name_is_matched_if_it_fits_one_of_them(patterns: tuple[str, ...], name: str) -> None:
    assert all(selection_rule_broken(each) is None for each in patterns if each != ".")
    matching = Patterns(patterns)
    assert matching.matches(name) == fits_any(patterns, name)
    assert bool(matching) == bool(patterns)
    first = next((each for each in patterns if fits(each, name)), None)
    assert matching.rule_for(name) == first


@given(LISTS, PATTERNS)
@example(("*", "*.**"), "**")
@example(("*", "*.*", "*.*.**"), "**")
@example(("*", "*.*.**"), "**")
@example(("a.**",), "a.*.**")
@example(("a.*", "a.*.*.**"), "a.**")
@example(("a", "b", ""), "*")
@example(("a.*", "*.b"), "*.*")
@example((), "a")
def test_pattern_is_covered_if_every_name_of_it_is_one_of_them(
    patterns: tuple[str, ...], pattern: str
) -> None:
    assert Patterns(patterns).covers(pattern) == within(pattern, patterns)


@given(LISTS, st.data())
def test_pattern_that_is_in_the_list_is_covered_and_so_is_what_it_makes_narrower(
    patterns: tuple[str, ...], data: st.DataObject
) -> None:
    if not patterns:
        return
    parts = data.draw(st.sampled_from(patterns)).split(".")
    narrower = [
        data.draw(
            st.sampled_from({"*": ["*", "a"], "**": ["**", "*", "b", "a.**"]}.get(part, [part]))
        )
        for part in parts
    ]
    assert Patterns(patterns).covers(".".join(parts))
    assert Patterns(patterns).covers(".".join(narrower))


@pytest.mark.parametrize(
    ("patterns", "pattern", "covered"),
    [
        (["orders"], "orders", True),
        (["orders"], "*", False),
        (["*"], "orders.new", False),
        (["**"], "orders.*.**", True),
        (["orders.**"], "**", False),
        ([".".join(["*"] * 125)], ".".join(["*"] * 124 + ["a"]), True),
        ([".".join("*" * count) for count in range(1, 126)], "**", False),
        ([*(".".join("*" * count) for count in range(1, 124)), "*." * 123 + "**"], "**", True),
    ],
)
def test_pattern_is_covered_or_not(patterns: list[str], pattern: str, *, covered: bool) -> None:
    assert Patterns(patterns).covers(pattern) is covered


def test_no_pattern_is_about_nothing() -> None:
    assert not Patterns([]).matches("orders")
    assert not Patterns([]).matches("")
    assert not Patterns(["orders"]).matches("")
