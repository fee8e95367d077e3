"""The benchmark's consumers tell what no consumer sees that is alone with its subscription."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[3]))
from benchmarks.subscription_client import Tally, Unexpected


def answer(*deliveries: tuple[str, int, int]) -> dict[str, Any]:
    """What a lease was answered, of topics, offsets and numbers of deliveries."""
    return {
        "lease": "opaque",
        "deliveries": [
            {"delivery": delivery, "event": {"topic": topic, "offset": offset}}
            for topic, offset, delivery in deliveries
        ],
        "lag": {"events": len(deliveries), "seconds": 0.5},
    }


def test_ranges_are_those_of_events_that_follow_one_another() -> None:
    tally = Tally(5)
    given = [("a", 1, 1), ("a", 2, 1), ("b", 3, 1), ("a", 3, 1), ("b", 4, 1)]
    batch = tally.take(answer(*given))
    assert batch is not None
    assert batch.ranges == [("a", 1, 2), ("b", 3, 3), ("a", 3, 3), ("b", 4, 4)]
    assert not tally.done.is_set()
    tally.settle(batch, {"acknowledged": 5})
    assert tally.done.is_set()
    tally.check(in_order=True)


@pytest.mark.parametrize(
    ("deliveries", "acknowledged", "why"),
    [
        ([("a", 1, 1), ("a", 2, 2)], 2, "a/2 came again"),
        ([("a", 1, 1), ("a", 2, 1)], 1, "of 2 events 1 are acknowledged"),
        ([("a", 1, 1), ("a", 3, 1)], 2, "a: behind offset 1 came 3"),
        ([("a", 1, 1), ("a", 1, 1)], 2, "a: behind offset 1 came 1"),
        ([("a", 2, 1), ("a", 1, 1)], 2, "a: behind offset 2 came 1"),
        ([("a", 1, 1)], 1, "1 events came and 1 were settled, not 2"),
    ],
)
def test_what_no_undisturbed_consumer_sees_is_told(
    deliveries: list[tuple[str, int, int]], acknowledged: int, why: str
) -> None:
    tally = Tally(2)

    def consume() -> None:
        batch = tally.take(answer(*deliveries))
        assert batch is not None
        tally.settle(batch, {"acknowledged": acknowledged})
        tally.check(in_order=True)

    with pytest.raises(Unexpected, match=why):
        consume()


def test_events_that_consumers_share_come_in_any_order() -> None:
    tally = Tally(2)
    for offset in (2, 1):
        batch = tally.take(answer(("a", offset, 1)))
        assert batch is not None
        tally.settle(batch, {"acknowledged": 1})
    tally.check(in_order=False)
