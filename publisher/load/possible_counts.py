"""Which counts are possible when the answers to some tries were lost.

A try without an answer was stored and counted as a whole, or not at all. So a count is what was
answered for plus the sum of some of those tries: which sums there are is computed, not estimated.
"""

from collections.abc import Iterable
from typing import NamedTuple


class LostTries(NamedTuple):
    """Tries of one request whose answers were lost.

    least, most: between so many of them were counted. amount: what each of them adds to a count.
    """

    least: int
    most: int
    amount: int


class Admissible:
    """The amounts by which a count may exceed what was answered for."""

    def __init__(self, lost: Iterable[LostTries]) -> None:
        # Bit n of the number says whether the sum n can be made.
        sums = 1
        for least, most, amount in lost:
            sums <<= least * amount
            for _ in range(most - least if amount else 0):
                sums |= sums << amount
        self._sums = sums

    def __contains__(self, excess: object) -> bool:
        """Whether a count may exceed what was answered for by this much."""
        return isinstance(excess, int) and excess >= 0 and bool(self._sums >> excess & 1)

    @property
    def least(self) -> int:
        """Give the least amount: that of the tries that were counted for certain."""
        return (self._sums & -self._sums).bit_length() - 1

    @property
    def most(self) -> int:
        """Give the amount if every try was counted that may have been."""
        return self._sums.bit_length() - 1

    def around(self, excess: int) -> list[int]:
        """Give the nearest admissible amounts, at most one on either side of `excess`."""
        nearest = []
        if excess > 0 and (below := self._sums & ((1 << excess) - 1)):
            nearest.append(below.bit_length() - 1)
        start = max(excess + 1, 0)
        if above := self._sums >> start:
            nearest.append(start + (above & -above).bit_length() - 1)
        return nearest
