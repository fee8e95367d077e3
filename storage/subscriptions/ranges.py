"""Ranges of unsettled events: cut, merged and counted. They are ascending and disjoint."""

from collections.abc import Iterable, Sequence

from storage.subscriptions.model import Unsettled


def cut(
    ranges: Sequence[Unsettled], first: int, last: int
) -> tuple[list[Unsettled], list[Unsettled], list[Unsettled]]:
    """Cut ranges at two offsets.

    Args:
        ranges: to be cut.
        first: the lowest offset of what is inside.
        last: the highest.

    Returns:
        What is below `first`, what is from `first` to `last`, and what is above `last`.
    """
    below: list[Unsettled] = []
    inside: list[Unsettled] = []
    above: list[Unsettled] = []
    for each in ranges:
        if each.last < first:
            below.append(each)
        elif each.first > last:
            above.append(each)
        elif first <= each.first and each.last <= last:
            inside.append(each)
        else:
            if each.first < first:
                below.append(part(each, each.first, first - 1))
            inside.append(part(each, max(each.first, first), min(each.last, last)))
            if each.last > last:
                above.append(part(each, last + 1, each.last))
    return below, inside, above


def part(of: Unsettled, first: int, last: int) -> Unsettled:
    """Return the part of a range between two offsets, both its own."""
    return Unsettled(first, last, of.deliveries, of.until_us, of.lease, of.size, of.failed)


def merged(ranges: Iterable[Unsettled]) -> tuple[Unsettled, ...]:
    """Merge neighbours that agree in all but their offsets.

    Args:
        ranges: ascending and disjoint.
    """
    found: list[Unsettled] = []
    for each in ranges:
        if found and (before := found[-1]).last + 1 == each.first and _alike(before, each):
            found[-1] = part(before, before.first, each.last)
        else:
            found.append(each)
    return tuple(found)


def count(ranges: Iterable[Unsettled]) -> int:
    """Count the events of ranges."""
    return sum([each.last - each.first + 1 for each in ranges])


def _alike(one: Unsettled, other: Unsettled) -> bool:
    return (
        one.deliveries == other.deliveries
        and one.until_us == other.until_us
        and one.lease == other.lease
        and one.size == other.size
        and one.failed == other.failed
    )
