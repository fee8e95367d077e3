"""The audit of a topic of a subscription: its row recounted from its ranges and its failures."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import msgspec

from storage.audit.snapshot import Row
from storage.subscriptions.model import SubscriptionSettings, TopicState, Unsettled

Ranges = tuple[Unsettled, ...]

_read_ranges = msgspec.json.Decoder(Ranges).decode


class KeptTopic(NamedTuple):
    """The row of a topic of a subscription, as `SubscriptionTables.topics` gives it."""

    topic: str
    subscription: str
    start: int
    next_offset: int
    acknowledged: int
    dead: int
    redelivered: int
    unsettled: int
    place: int
    ranges: str
    is_due: int
    due_us: int
    holds_new: int

    def compare(
        self, head: int, settings: SubscriptionSettings | None, on_difference: Callable[[str], None]
    ) -> Ranges | None:
        """Compare the row with the head of its topic, with its ranges, and with itself.

        Args:
            head: the head offset; 0: the topic has no event.
            settings: of the subscription; None: they can't be read, nor what hangs on them.
            on_difference: callback with a sentence about each difference.

        Returns:
            Its ranges; None if they can't be read.
        """
        if head == 0:
            on_difference("the topic has no event")
        if not 0 <= self.start <= self.next_offset <= head:
            on_difference(
                f"start {self.start}, next_offset {self.next_offset} and the head {head} "
                "are not in this order"
            )
        self._compare_counts(on_difference)
        try:
            ranges = _read_ranges(self.ranges)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            on_difference(f"its ranges can't be read: {error}")
            return None
        for fault in _faults(ranges, self.start, self.next_offset):
            on_difference(fault)
        self._compare_ranges(ranges, settings, on_difference)
        return ranges

    def _compare_counts(self, on_difference: Callable[[str], None]) -> None:
        for name in ("acknowledged", "dead", "redelivered", "unsettled"):
            if getattr(self, name) < 0:
                on_difference(f"{name} is {getattr(self, name)}")
        reached, counted = (
            self.next_offset - self.start, self.acknowledged + self.dead + self.unsettled,
        )  # fmt: skip
        if reached != counted:
            on_difference(
                f"next_offset - start is {reached}, but acknowledged + dead + unsettled "
                f"is {counted}"
            )

    def _compare_ranges(
        self,
        ranges: Ranges,
        settings: SubscriptionSettings | None,
        on_difference: Callable[[str], None],
    ) -> None:
        state = TopicState(
            start=self.start, next_offset=self.next_offset, dead=self.dead, ranges=ranges
        )
        pairs: list[tuple[str, int | None, int | None]] = [
            ("unsettled", self.unsettled, state.unsettled),
            ("place", self.place, state.place),
        ]
        if settings is not None:
            due_us = self.due_us if self.is_due else None
            pairs.append(("due_at", due_us, state.due_us(settings)))
            pairs.append(("holds_new", self.holds_new, int(state.holds_new(settings))))
        for name, held, expected in pairs:
            if held != expected:
                on_difference(f"{name} is {held}, but its ranges make it {expected}")


class Failures:
    """The failures of a topic of a subscription, compared with its ranges one after the other.

    Args:
        kept: the row of the topic.
        ranges: its ranges.
        on_difference: callback with a sentence about each difference.
    """

    def __init__(
        self, kept: KeptTopic, ranges: Ranges, on_difference: Callable[[str], None]
    ) -> None:
        self._kept = kept
        self._ranges = iter(sorted(ranges, key=lambda each: each.first))
        self._range = next(self._ranges, None)
        self._on_difference = on_difference

    def compare(self, rows: Iterable[Row]) -> None:
        """Compare all of them.

        Args:
            rows: topic, subscription, offset, whether it is a dead letter; by offset.
        """
        dead, last = 0, None
        for _, _, offset, is_dead in rows:
            if offset == last:
                self._on_difference(f"the failure of offset {offset} is kept more than once")
            last = offset
            unsettled = self._range_of(offset)
            if is_dead:
                dead += 1
                self._compare_dead(offset, unsettled)
            elif unsettled is None:
                self._on_difference(f"a failure is kept of offset {offset}, which is settled")
            elif not unsettled.failed:
                self._on_difference(
                    f"a failure is kept of offset {offset}, of which its range does not know"
                )
        if dead != self._kept.dead:
            self._on_difference(f"dead is {self._kept.dead}, but {dead} dead letters are there")

    def _compare_dead(self, offset: int, unsettled: Unsettled | None) -> None:
        if unsettled is not None:
            self._on_difference(f"offset {offset} is a dead letter, and is not settled")
        elif not self._kept.start < offset <= self._kept.next_offset:
            self._on_difference(
                f"offset {offset} is a dead letter, but not within "
                f"{self._kept.start + 1} and {self._kept.next_offset}"
            )

    def _range_of(self, offset: int) -> Unsettled | None:
        while self._range is not None and self._range.last < offset:
            self._range = next(self._ranges, None)
        return self._range if self._range is not None and self._range.first <= offset else None


def _faults(ranges: Ranges, start: int, next_offset: int) -> Iterable[str]:
    for each in ranges:
        if not start < each.first <= each.last <= next_offset:
            yield f"the range {_of(each)} is not within {start + 1} and {next_offset}"
        if each.deliveries < (1 if each.lease else 0):
            yield f"the range {_of(each)} was delivered {each.deliveries} times"
    for earlier, later in pairwise(ranges):
        if later.first <= earlier.last:
            yield f"the range {_of(later)} is not behind the range {_of(earlier)}"
        elif later.first == earlier.last + 1 and _rest(earlier) == _rest(later):
            yield f"the ranges {_of(earlier)} and {_of(later)} are one"


def _rest(each: Unsettled) -> tuple[object, ...]:
    return msgspec.structs.astuple(each)[2:]


def _of(each: Unsettled) -> str:
    return f"{each.first} to {each.last}"
