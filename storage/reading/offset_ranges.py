"""Ranges of offsets: what a page is read from, in the order in which it is read.

Offsets are dense, so a range says exactly how many rows it has, and the next so many rows are
arithmetic.
"""

from collections.abc import Iterable, Sequence
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
    """

    def __init__(self, ranges: Iterable[OffsetRange], *, newest_first: bool) -> None:
        self._ranges = list(ranges)
        self._newest_first = newest_first
        self._index = 0
        self._rows_read = 0
        """Rows of the range at `_index` that are behind the cursor."""

    @property
    def at_end(self) -> bool:
        """Whether no row is left."""
        return self._index == len(self._ranges)

    def peek(self, rows: int) -> Sequence[OffsetRange]:
        """Return the ranges of the next rows, without moving.

        Args:
            rows: how many, at most.
        """
        found: list[OffsetRange] = []
        skipped = self._rows_read
        for each in self._ranges[self._index :]:
            if not rows:
                break
            taken = min(rows, each.rows - skipped)
            found.append(self._cut(each, skipped, taken))
            rows -= taken
            skipped = 0
        return found

    def advance(self, rows: int) -> None:
        """Move behind so many rows.

        Args:
            rows: no more than are left.
        """
        self._rows_read += rows
        while self._index < len(self._ranges) and self._rows_read >= (
            length := self._ranges[self._index].rows
        ):
            self._rows_read -= length
            self._index += 1

    def _cut(self, each: OffsetRange, skipped: int, rows: int) -> OffsetRange:
        if self._newest_first:
            last = each.last - skipped
            return each._replace(first=last - rows + 1, last=last)
        first = each.first + skipped
        return each._replace(first=first, last=first + rows - 1)


def count_rows(ranges: Iterable[OffsetRange]) -> int:
    """Count the rows of ranges."""
    return sum(each.rows for each in ranges)


def consecutive(within: OffsetRange, offsets: Iterable[int]) -> list[OffsetRange]:
    """Return the ranges of consecutive offsets, ascending.

    Args:
        within: the range that they are of.
        offsets: in ascending order.
    """
    found: list[OffsetRange] = []
    for offset in offsets:
        if found and offset == found[-1].last + 1:
            found[-1] = found[-1]._replace(last=offset)
        else:
            found.append(within._replace(first=offset, last=offset))
    return found
