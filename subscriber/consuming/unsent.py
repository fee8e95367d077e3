"""What is to be settled of a lease and was not sent yet, and the requests that are made of it."""

import asyncio
import json
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from subscriber.calls.requests import Death, Range, Retry, Settle
from subscriber.delivery import MAX_ERROR_CHARACTERS, Delivery, Fate

_MAX_BYTES = 512 * 1024
"""An aggregator takes 1 MiB."""

_ENTRY_BYTES = 80
"""Of an entry without its topic and its error."""


class Group(NamedTuple):
    """Deliveries that share what becomes of them.

    Args:
        deliveries: in the order of their offsets within each topic.
        fate: what becomes of them.
        after_ms: of a retry.
        error: of a retry or a death.
        future: of who waits for the answer; None: nobody.
    """

    deliveries: Sequence[Delivery]
    fate: Fate
    after_ms: int | None
    error: str | None
    future: asyncio.Future[None] | None


class Unsent:
    """A queue of what becomes of deliveries of a lease.

    Args:
        lease: its text.
        deliveries: all of the lease.
        keeps_order: whether a retry hands back what is behind it in its topic, so that nothing
            behind it may be settled by the same request.
    """

    def __init__(self, lease: str, deliveries: Sequence[Delivery], *, keeps_order: bool) -> None:
        self._lease = lease
        self._deliveries = deliveries
        self._keeps_order = keeps_order
        self._acknowledged: list[Delivery] = []
        self._groups: deque[Group] = deque()
        self._places: dict[tuple[str, int], int] | None = None

    def __bool__(self) -> bool:
        return bool(self._acknowledged or self._groups)

    def put(self, group: Group) -> None:
        """Queue a group."""
        if group.fate is Fate.ACK and group.future is None:
            # By far the most; ahead of all others they are in nobody's way.
            self._acknowledged += group.deliveries
            return
        for part in _parts(group):
            self._groups.append(part)

    def take(self) -> tuple[Settle, list[Group]]:
        """Take what goes into the next request: as much from the front as goes together.

        Returns:
            The request, and the groups that it settles.
        """
        if self._acknowledged:
            acknowledged, self._acknowledged = self._acknowledged, []
            group = Group(acknowledged, Fate.ACK, None, None, None)
            self._groups.extendleft(reversed(list(_parts(group))))
        taken: list[Group] = []
        ends = None
        if self._keeps_order and any(each.fate is Fate.RETRY for each in self._groups):
            ends = _Ends()
        left = _MAX_BYTES
        while self._groups:
            group = self._groups[0]
            left -= _bytes_of(group)
            if taken and (left < 0 or (ends is not None and not ends.go_with(group))):
                break
            if ends is not None:
                ends.add(group)
            taken.append(self._groups.popleft())
        return self._settle(taken), taken

    def _settle(self, groups: Sequence[Group]) -> Settle:
        ack: list[Delivery] = []
        release: list[Delivery] = []
        retry: list[Retry] = []
        dead: list[Death] = []
        for group in groups:
            match group.fate:
                case Fate.ACK:
                    ack += group.deliveries
                case Fate.RETRY:
                    retry += [
                        Retry(each.topic, each.offset, group.after_ms, group.error)
                        for each in group.deliveries
                    ]
                case Fate.DEAD:
                    dead += [
                        Death(each.topic, each.offset, group.error) for each in group.deliveries
                    ]
                case _:
                    release += group.deliveries
        return Settle(self._lease, self._ranges(ack), retry, dead, self._ranges(release))

    def _ranges(self, deliveries: Sequence[Delivery]) -> list[Range]:
        by_topic: dict[str, list[int]] = {}
        for delivery in deliveries:
            by_topic.setdefault(delivery.topic, []).append(delivery.offset)
        ranges: list[Range] = []
        for topic, offsets in by_topic.items():
            offsets.sort()
            first = last = offsets[0]
            for offset in offsets[1:]:
                if offset != last + 1 and not self._goes_on(topic, last, offset):
                    ranges.append((topic, first, last))
                    first = offset
                last = offset
            ranges.append((topic, first, last))
        return ranges

    def _goes_on(self, topic: str, before: int, after: int) -> bool:
        """Return whether a range may span what is between two deliveries of the lease."""
        if not self._keeps_order:
            # Others may have what is between them, or it waits to come again.
            return False
        if self._places is None:
            counts: dict[str, int] = {}
            self._places = {}
            for delivery in self._deliveries:
                place = counts[delivery.topic] = counts.get(delivery.topic, 0) + 1
                self._places[delivery.topic, delivery.offset] = place
        return self._places[topic, after] == self._places[topic, before] + 1


def _parts(group: Group) -> Iterator[Group]:
    """Yield a group in parts of which each fits into a request; who waits, waits for the last."""
    error = None if group.error is None else group.error[:MAX_ERROR_CHARACTERS]
    group = group._replace(error=error)
    most = max(1, len(group.deliveries) * _MAX_BYTES // max(1, _bytes_of(group)))
    for begin in range(0, len(group.deliveries), most):
        part = group.deliveries[begin : begin + most]
        is_last = begin + most >= len(group.deliveries)
        yield group._replace(deliveries=part, future=group.future if is_last else None)


def _bytes_of(group: Group) -> int:
    """Return how large the entries of a group are at most, by what is known without encoding."""
    entry_bytes = _ENTRY_BYTES + (0 if group.error is None else len(json.dumps(group.error)))
    return sum(entry_bytes + len(each.topic) for each in group.deliveries)


class _Ends:
    """Where the first retries, and the last settled offsets, of topics are in a request."""

    def __init__(self) -> None:
        self._retried: dict[str, int] = {}
        self._settled: dict[str, int] = {}

    def go_with(self, group: Group) -> bool:
        """Return whether a group may go with what was added."""
        if group.fate is Fate.RETRY:
            return all(self._settled.get(each.topic, 0) < each.offset for each in group.deliveries)
        # Of what is ahead of a retry.
        return all(
            each.offset < self._retried.get(each.topic, each.offset + 1)
            for each in group.deliveries
        )

    def add(self, group: Group) -> None:
        """Add a group."""
        ends, end = (self._retried, min) if group.fate is Fate.RETRY else (self._settled, max)
        for each in group.deliveries:
            ends[each.topic] = end(each.offset, ends.get(each.topic, each.offset))
