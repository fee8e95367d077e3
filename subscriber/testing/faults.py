"""Faults that a test wants: calls that fail as those to an aggregator that is out of reach."""

from collections import deque
from typing import NamedTuple


class Fault(NamedTuple):
    """A call that fails.

    Args:
        reason: one sentence.
        is_done: whether it is done all the same, and only its answer is lost.
    """

    reason: str
    is_done: bool


class Faults:
    """The faults of the next calls, in order. Its caller holds a lock around each call."""

    def __init__(self) -> None:
        self._coming: deque[Fault] = deque()

    def add(self, count: int, fault: Fault) -> None:
        """Have so many more calls fail, behind those that are to fail already."""
        self._coming.extend([fault] * count)

    def next(self) -> Fault | None:
        """Return the fault of the next call; None: it does not fail."""
        return self._coming.popleft() if self._coming else None
