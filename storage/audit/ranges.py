"""The ranges of a topic: those that the table of appends holds, compared with runs of its rows.

A run is made of rows whose offsets follow one another and that have one time. A range may be split
in two, or two of one time be written as one: so they are compared piece by piece, and by numbers
alone, whatever the length of a range.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, islice
from operator import ne
from typing import NamedTuple

from storage.audit.snapshot import Row


class Range(NamedTuple):
    """Consecutive offsets that have one time, both ends included."""

    first: int
    last: int
    time_us: int


def runs(offsets: Sequence[int], times_us: Sequence[int], *, is_dense: bool) -> Iterator[Range]:
    """Find the runs of some rows.

    Args:
        offsets: in ascending order; a repeated one counts once, and one below 1 not at all.
        times_us: the time of each.
        is_dense: whether each offset is the one before and 1.

    Yields:
        The runs, in order.
    """
    if is_dense and offsets[0] > 0:
        changes = map(ne, times_us, islice(times_us, 1, None))
        starts = [0, *compress(range(1, len(times_us)), changes)]
        for start, end in zip(starts, [*starts[1:], len(offsets)], strict=True):
            yield Range(offsets[start], offsets[end - 1], times_us[start])
        return
    run: Range | None = None
    for offset, time_us in zip(offsets, times_us, strict=True):
        if run is not None and offset == run.last + 1 and time_us == run.time_us:
            run = run._replace(last=offset)
        elif offset > (run.last if run is not None else 0):
            if run is not None:
                yield run
            run = Range(offset, offset, time_us)
    if run is not None:
        yield run


def compare(
    expected: Iterable[Range], held: Iterable[Range], on_difference: Callable[[str], None]
) -> None:
    """Compare the runs of a topic with its ranges.

    Args:
        expected: the runs of the table, in order.
        held: the ranges of the table of appends, by their first offsets.
        on_difference: callback with a sentence about each difference.
    """
    ours, theirs = iter(expected), _without_overlaps(held, on_difference)
    run, held_range = next(ours, None), next(theirs, None)
    while run is not None and held_range is not None:
        if run == held_range:
            run, held_range = next(ours, None), next(theirs, None)
        elif run.first < held_range.first:
            last = min(run.last, held_range.first - 1)
            on_difference(f"{_are(run.first, last)} in no append")
            run = _behind(run, last) or next(ours, None)
        elif held_range.first < run.first:
            last = min(held_range.last, run.first - 1)
            on_difference(f"{_are(held_range.first, last)} in an append, but not there")
            held_range = _behind(held_range, last) or next(theirs, None)
        else:
            last = min(run.last, held_range.last)
            if run.time_us != held_range.time_us:
                on_difference(
                    f"{_are(run.first, last)} in an append of another ts_ingest: "
                    f"{held_range.time_us}, not {run.time_us} microseconds after 1970"
                )
            run = _behind(run, last) or next(ours, None)
            held_range = _behind(held_range, last) or next(theirs, None)
    while run is not None:
        on_difference(f"{_are(run.first, run.last)} in no append")
        run = next(ours, None)
    while held_range is not None:
        on_difference(f"{_are(held_range.first, held_range.last)} in an append, but not there")
        held_range = next(theirs, None)


def ranges_of(blocks: Iterable[Sequence[Row]]) -> Iterator[Range]:
    """Make ranges of rows: topic, first and last offset, ts_ingest."""
    for block in blocks:
        for _, first, last, time_us in block:
            yield Range(first, last, time_us)


def _without_overlaps(
    held: Iterable[Range], on_difference: Callable[[str], None]
) -> Iterator[Range]:
    """Yield what each range adds to those before it."""
    end = 0
    for each in held:
        if not 1 <= each.first <= each.last:
            on_difference(f"an append has offsets {each.first} to {each.last}")
        elif each.first > end:
            end = each.last
            yield each
        else:
            on_difference(f"{_are(each.first, min(end, each.last))} in more than one append")
            if each.last > end:
                yield each._replace(first=end + 1)
                end = each.last


def _behind(each: Range, last: int) -> Range | None:
    return each._replace(first=last + 1) if last < each.last else None


def _are(first: int, last: int) -> str:
    return f"offset {first} is" if first == last else f"offsets {first} to {last} are"
