"""Ranges of offsets: what a page is read from, in the order in which it is read.

Offsets are dense, so a range says exactly how many rows it has, and the next so many rows are
arithmetic.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple


class OffsetRange(NamedTuple):
    """Consecutive events of a topic that were stored at the same time, or whose time is unknown.

    Args:
        topic: its name.
        first: the lowest offset.
        last: the highest offset, not below `first`.
        ts_ingest_us: when they were stored; 0 where nobody needs to know.
    """

    topic: str
    first: int
    last: int
    ts_ingest_us: int = 0

    @property
    def rows(self) -> int:
        """Number of its events."""
        return self.last - self.first + 1


class RangeCursor:
    """A place in a sequence of ranges, which moves on by rows.

    Args:
        ranges: in the order in which they are read.
        newest_first: whether each of them is read from its end.
        load: returns the ranges that follow, a few at a time; an empty list at the end.
    """

    def __init__(
        self,
        ranges: Sequence[OffsetRange],
        *,
        newest_first: bool,
        load: Callable[[], Awaitable[Sequence[OffsetRange]]] | None = None,
    ) -> None:
        self._ranges = deque(ranges)
        self._newest_first = newest_first
        self._load = load
        self._rows = count_rows(ranges)

    async def fill(self, rows: int) -> int:
        """Load ranges until so many rows are there, or no more follow.

        Args:
            rows: how many are wanted.

        Returns:
            How many of them there are.
        """
        while self._rows < rows and self._load is not None:
            ranges = await self._load()
            if not ranges:
                self._load = None
            self._ranges += ranges
            self._rows += count_rows(ranges)
        return min(rows, self._rows)

    def peek(self, rows: int) -> Sequence[OffsetRange]:
        """Return the ranges of the next rows that are loaded, without moving.

        Args:
            rows: how many, at most.
        """
        found: list[OffsetRange] = []
        for each in self._ranges:
            if not rows:
                break
            found.append(self._first(each, min(rows, each.rows)))
            rows -= found[-1].rows
        return found

    def advance(self, rows: int) -> None:
        """Move behind so many rows.

        Args:
            rows: no more than are loaded.
        """
        self._rows -= rows
        while rows:
            each = self._ranges.popleft()
            if rows < each.rows:
                self._ranges.appendleft(self._without_first(each, rows))
                return
            rows -= each.rows

    def _first(self, each: OffsetRange, rows: int) -> OffsetRange:
        if self._newest_first:
            return each._replace(first=each.last - rows + 1)
        return each._replace(last=each.first + rows - 1)

    def _without_first(self, each: OffsetRange, rows: int) -> OffsetRange:
        if self._newest_first:
            return each._replace(last=each.last - rows)
        return each._replace(first=each.first + rows)


def count_rows(ranges: Iterable[OffsetRange]) -> int:
    """Count the rows of ranges."""
    return sum(each.rows for each in ranges)


def consecutive(within: OffsetRange, offsets: Sequence[int]) -> list[OffsetRange]:
    """Return the ranges of consecutive offsets, ascending.

    Args:
        within: the range that they are of.
        offsets: at least one, in ascending order.
    """
    breaks = [index for index, (one, other) in enumerate(pairwise(offsets), 1) if other != one + 1]
    return [
        within._replace(first=offsets[start], last=offsets[end - 1])
        for start, end in pairwise([0, *breaks, len(offsets)])
    ]
