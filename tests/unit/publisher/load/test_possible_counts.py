"""The sums of tries that may have been counted, against every combination tried out."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from publisher.load.possible_counts import LostAttempts, PossibleCounts

SMALL, AMOUNTS = st.integers(0, 2), st.integers(0, 12)


def lost_attempts(least: int, more: int, amount: int) -> LostAttempts:
    return LostAttempts(least, least + more, amount)


LOST = st.lists(st.builds(lost_attempts, SMALL, SMALL, AMOUNTS), max_size=5)


def by_hand(lost: list[LostAttempts]) -> set[int]:
    choices = [
        [n * each.amount for n in range(each.min_counted, each.max_counted + 1)] for each in lost
    ]
    return {sum(choice) for choice in itertools.product(*choices)}


@given(LOST)
def test_possible_counts_are_the_sums_of_lost_attempts(lost: list[LostAttempts]) -> None:
    sums, possible = by_hand(lost), PossibleCounts(lost)
    assert {n for n in range(-3, 300) if n in possible} == sums
    assert (possible.min_excess, possible.max_excess) == (min(sums), max(sums))


@given(LOST, st.integers(-5, 300))
def test_nearest_counts_are_those_on_either_side(lost: list[LostAttempts], excess: int) -> None:
    sums = by_hand(lost)
    below = [max((n for n in sums if n < excess), default=-1)]
    above = [min((n for n in sums if n > excess), default=-1)]
    assert PossibleCounts(lost).nearest(excess) == [n for n in below + above if n >= 0]


def test_without_lost_attempts_the_excess_is_zero() -> None:
    possible = PossibleCounts([])
    assert 0 in possible
    assert 1 not in possible
    assert -1 not in possible
