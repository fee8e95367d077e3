"""Streams of rows in a known order, read topic by topic, and hashes to compare them by."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter, le
from typing import Any

from storage.audit.snapshot import Blocks, LogDamaged, Row


@dataclass(slots=True)
class MultisetHash:
    """Hash of a multiset: the number of its entries and the sum of their hashes.

    The hash of an entry is Python's own for strings: 64 bits of SipHash, with a key that is new in
    every run. That different entries agree in both is a chance of 1 in 2^64, and another one the
    next time. Hashes of numbers or tuples would not do: their sums agree far more often.
    """

    count: int = 0
    hashes: int = 0

    def add(self, entries: Iterable[str], count: int) -> None:
        """Add `count` entries."""
        self.count += count
        self.hashes = (self.hashes + sum(map(hash, entries))) & (2**64 - 1)


class Stream:
    """Stream of rows in a known order, to be read topic by topic.

    Every method raises `LogDamaged` where they turn out not to be in that order, for then no
    two streams can be compared.

    Args:
        blocks: rows whose first column is the topic, or whose topic is never needed.
        name: what a sentence calls it.
        order: the numbers of the columns by which they are ordered.
        on_rows: callback with the number of rows of each block.
    """

    def __init__(
        self,
        blocks: Blocks,
        name: str,
        order: Sequence[int],
        on_rows: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._blocks = blocks
        self._name = name
        self._order = order
        self._on_rows = on_rows
        self._last: list[tuple[object, ...]] = []
        self._block: Sequence[Row] = ()
        self._start = 0
        self._fill()

    @property
    def topic(self) -> str | None:
        """The topic of the next row; None at the end."""
        return self._block[self._start][0] if self._block else None

    def read_topic(self, topic: str) -> Iterator[Sequence[Row]]:
        """Read the rows of a topic, if they come next, in parts of blocks."""
        while self.topic == topic:
            end = _end_of_run(self._block, self._start)
            yield self._block[self._start : end]
            self._start = end
            if end == len(self._block):
                self._fill()

    def blocks(self) -> Iterator[Sequence[Row]]:
        """Read all that is left, whatever the topic."""
        while self._block:
            yield self._block
            self._fill()

    def _fill(self) -> None:
        self._block = next(self._blocks, ())
        self._start = 0
        if self._block:
            self._on_rows(len(self._block))
            ordered = self._last + list(zip(*columns(self._block, *self._order), strict=True))
            if not all(map(le, ordered, ordered[1:])):
                where = next(later for earlier, later in pairwise(ordered) if earlier > later)
                raise LogDamaged(f"{self._name} is out of order at {where!a}")
            self._last = ordered[-1:]


def columns(block: Sequence[Row], *columns: int) -> list[Iterator[Any]]:
    """Make an iterator over each of these columns of a block."""
    return [map(itemgetter(column), block) for column in columns]


def _end_of_run(block: Sequence[Row], start: int) -> int:
    """Find where the rows end that have the topic of the one at `start`; they are in order."""
    topic = block[start][0]
    low, high = start + 1, len(block)
    if block[high - 1][0] == topic:
        return high
    while low < high:
        middle = (low + high) // 2
        if block[middle][0] == topic:
            low = middle + 1
        else:
            high = middle
    return low
