"""The sums of tries that may have been counted, against every combination tried out."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from publisher.load.possible_counts import Admissible, LostTries

LOST = st.lists(
    st.builds(
        lambda least, more, amount: LostTries(least, least + more, amount),
        st.integers(0, 2), st.integers(0, 2), st.integers(0, 12),
    ),
    max_size=5,
)  # fmt: skip


def by_hand(lost: list[LostTries]) -> set[int]:
    choices = [[n * each.amount for n in range(each.least, each.most + 1)] for each in lost]
    return {sum(choice) for choice in itertools.product(*choices)}


@given(LOST)
def test_exactly_the_sums_that_can_be_made_are_admissible(lost: list[LostTries]) -> None:
    sums, admissible = by_hand(lost), Admissible(lost)
    assert {n for n in range(-3, 300) if n in admissible} == sums
    assert (admissible.least, admissible.most) == (min(sums), max(sums))


@given(LOST, st.integers(-5, 300))
def test_the_nearest_admissible_sums_are_named(lost: list[LostTries], excess: int) -> None:
    sums = by_hand(lost)
    below = [max((n for n in sums if n < excess), default=-1)]
    above = [min((n for n in sums if n > excess), default=-1)]
    assert Admissible(lost).around(excess) == [n for n in below + above if n >= 0]


def test_without_lost_tries_nothing_but_what_was_sent_is_admissible() -> None:
    admissible = Admissible([])
    assert 0 in admissible
    assert 1 not in admissible
    assert -1 not in admissible
