"""The possible values of a count when the responses to some attempts were lost.

An attempt without a response was stored and counted as a whole, or not at all. So a count exceeds
the events that were acknowledged by the sum of some of those attempts. The set of these sums is
computed, not estimated.
"""

from collections.abc import Iterable
from typing import NamedTuple


class LostAttempts(NamedTuple):
    """The attempts of one request whose responses were lost.

    Args:
        min_counted: least number of them that were counted.
        max_counted: greatest number of them that were counted.
        amount: the number of events that each of them adds to a count.
    """

    min_counted: int
    max_counted: int
    amount: int


class PossibleCounts:
    """The set of amounts by which a count may exceed the events that were acknowledged.

    Args:
        lost: the lost attempts, request by request.
    """

    def __init__(self, lost: Iterable[LostAttempts]) -> None:
        # Bit n of the number says whether the sum n is possible.
        sums = 1
        for min_counted, max_counted, amount in lost:
            sums <<= min_counted * amount
            for _ in range(max_counted - min_counted if amount else 0):
                sums |= sums << amount
        self._sums = sums

    def __contains__(self, excess: object) -> bool:
        """Return whether a count may exceed the acknowledged events by this amount."""
        return isinstance(excess, int) and excess >= 0 and bool(self._sums >> excess & 1)

    @property
    def min_excess(self) -> int:
        """The least possible amount: that of the attempts that were counted for certain."""
        return (self._sums & -self._sums).bit_length() - 1

    @property
    def max_excess(self) -> int:
        """The greatest possible amount: that of every attempt that may have been counted."""
        return self._sums.bit_length() - 1

    def nearest(self, excess: int) -> list[int]:
        """Return the nearest possible amounts, at most one on either side.

        Args:
            excess: any amount, which itself is left out.
        """
        nearest = []
        if excess > 0 and (below := self._sums & ((1 << excess) - 1)):
            nearest.append(below.bit_length() - 1)
        start = max(excess + 1, 0)
        if above := self._sums >> start:
            nearest.append(start + (above & -above).bit_length() - 1)
        return nearest
