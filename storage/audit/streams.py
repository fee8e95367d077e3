"""Blocks of rows in a known order, taken topic by topic, and sums to compare them by."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter, le
from typing import Any

from storage.audit.snapshot import Blocks, LogDamaged, Row


@dataclass(slots=True)
class Sum:
    """Entries, each as often as it is there, as their number and the sum of their hashes.

    The hash is Python's own for strings: 64 bits of SipHash, with a key that is new in every
    run. That different entries agree in both is a chance of 1 in 2^64, and another one the
    next time. Hashes of numbers or tuples would not do: their sums agree far more often.
    """

    count: int = 0
    hashes: int = 0

    def add(self, entries: Iterable[str], count: int) -> None:
        """Take in `count` entries."""
        self.count += count
        self.hashes = (self.hashes + sum(map(hash, entries))) & (2**64 - 1)


class Stream:
    """Blocks in a known order, to be taken topic by topic.

    Every method raises `LogDamaged` where they turn out not to be in that order, for then no
    two streams can be compared.

    Args:
        blocks: rows whose first column is the topic, or whose topic is never asked for.
        name: what a sentence calls it.
        order: the numbers of the columns by which they are ordered.
        on_rows: told how many rows came.
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

    def take(self, topic: str) -> Iterator[Sequence[Row]]:
        """The rows of this topic, if they come next."""
        while self.topic == topic:
            end = _end_of_run(self._block, self._start)
            yield self._block[self._start : end]
            self._start = end
            if end == len(self._block):
                self._fill()

    def blocks(self) -> Iterator[Sequence[Row]]:
        """All that is left, whatever the topic."""
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
    """Some columns of a block, each as an iterator."""
    return [map(itemgetter(column), block) for column in columns]


def _end_of_run(block: Sequence[Row], start: int) -> int:
    """Where the rows end that have the topic of the one at `start`; they are in order."""
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
