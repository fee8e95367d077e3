"""What entries have used up of their limits, by a clock that is set."""

import pytest

from aggregator.access.entries import NO_LIMITS, EntryLimits
from aggregator.access.errors import OverLimit
from aggregator.access.limits import Usage

SECOND_NS = 1_000_000_000
TEN = EntryLimits(events_per_second=10, bytes_per_second=100)


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_ns = 5

    def __call__(self) -> int:
        return self.now_ns

    def go_on(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND_NS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def usage(clock: Clock) -> Usage:
    return Usage(clock)


def over(usage: Usage, limits: EntryLimits, **amounts: int) -> OverLimit:
    with pytest.raises(OverLimit) as caught:
        usage.admit("shop", limits, **{"events": 0, "size": 0} | amounts)
    return caught.value


def test_each_entry_has_its_own(usage: Usage) -> None:
    usage.admit("shop", TEN, events=10, size=1)
    usage.admit("other", TEN, events=10, size=1)
    assert over(usage, TEN, events=1).quota.name == "events"


def test_the_limit_with_the_longest_wait_is_told_in_whole_seconds(
    usage: Usage, clock: Clock
) -> None:
    usage.admit("shop", TEN, events=11, size=1000)
    error = over(usage, TEN, events=1, size=1)
    assert (error.quota.name, error.quota.amount, error.retry_after_s, error.left) == (
        "bytes", 100, 10, 0
    )  # fmt: skip
    clock.go_on(0.91)
    assert over(usage, TEN, events=1, size=1).retry_after_s == 9
    clock.go_on(9)
    usage.admit("shop", TEN, events=1, size=1)


def test_what_one_limit_refuses_is_not_taken_from_another(usage: Usage, clock: Clock) -> None:
    usage.admit("shop", TEN, events=1, size=101)
    for _ in range(20):
        assert over(usage, TEN, events=9, size=1).quota.name == "bytes"
    clock.go_on(0.02)
    usage.admit("shop", TEN, events=9, size=1)


def test_without_limits_nothing_is_kept(usage: Usage) -> None:
    usage.admit("shop", NO_LIMITS, events=10**9, size=10**9)
    assert len(usage) == 0


def test_a_limit_that_changes_counts_with_what_was_taken(usage: Usage) -> None:
    usage.admit("shop", TEN, events=10, size=1)
    twenty = EntryLimits(events_per_second=20)
    assert over(usage, twenty, events=1).quota.amount == 20
    usage.admit("shop", EntryLimits(bytes_per_second=100), events=10**6, size=1)


def test_what_is_kept_is_bounded_and_full_buckets_go_first(clock: Clock) -> None:
    usage = Usage(clock, max_buckets=100)
    limits = EntryLimits(events_per_second=1)
    for number in range(90):
        usage.admit(f"quiet-{number}", limits, events=1, size=1)
    clock.go_on(1)
    usage.admit("shop", limits, events=1, size=1)
    for number in range(20):
        usage.admit(f"new-{number}", limits, events=1, size=1)
    assert len(usage) == 21
    over(usage, limits, events=1)
    for number in range(1000):
        usage.admit(f"many-{number}", limits, events=1, size=1)
        assert len(usage) <= 100
    usage.admit("shop", limits, events=1, size=1)  # the oldest is forgotten


def test_new_topics_are_counted_by_the_day(usage: Usage, clock: Clock) -> None:
    limits = EntryLimits(new_topics_per_day=24)
    assert usage.new_topics_left("shop", limits) == 24
    usage.admit("shop", limits, events=1, size=1, new_topics=24)
    assert usage.new_topics_left("shop", limits) == 0
    assert over(usage, limits, new_topics=1).retry_after_s == 3600
    usage.admit("shop", limits, events=1, size=1)
    clock.go_on(3 * 3600)
    assert usage.new_topics_left("shop", limits) == 3
    assert usage.new_topics_left("shop", EntryLimits(new_topics_per_day=0)) == 0


def test_streams_are_counted_while_they_are_open(usage: Usage) -> None:
    two = EntryLimits(streams=2)
    usage.open_stream("shop", two)
    usage.open_stream("shop", NO_LIMITS)
    with pytest.raises(OverLimit):
        usage.open_stream("shop", two)
    usage.open_stream("other", two)
    usage.close_stream("shop")
    usage.open_stream("shop", two)
