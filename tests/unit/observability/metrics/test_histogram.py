"""A distribution against what its buckets mean, value by value."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.observability.metrics.histogram import EVENTS, SECONDS, Histogram, merged


@pytest.mark.parametrize("bounds", [SECONDS, EVENTS, (1.0,)])
@given(data=st.data())
def test_each_bucket_counts_all_up_to_its_bound(
    bounds: tuple[float, ...], data: st.DataObject
) -> None:
    values = data.draw(
        st.lists(st.one_of(st.sampled_from(bounds), st.floats(0, 2 * bounds[-1], allow_nan=False)))
    )
    measured = Histogram(bounds)
    for value in values:
        measured.observe(value)
    expected = [sum(value <= bound for value in values) for bound in (*bounds, math.inf)]
    assert [count for _, count in measured.buckets()] == expected
    assert [float(name) for name, _ in measured.buckets()] == [*bounds, math.inf]
    assert measured.sum == pytest.approx(sum(values))


@pytest.mark.parametrize("bounds", [SECONDS, EVENTS])
def test_the_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_merged_ones_are_as_one_that_saw_everything() -> None:
    parts, whole = [Histogram(SECONDS) for _ in range(3)], Histogram(SECONDS)
    for number in range(30):
        parts[number % 2].observe(number / 7)
        whole.observe(number / 7)
    together = merged(parts)
    assert together.buckets() == whole.buckets()
    assert together.count() == whole.count() == 30
    assert together.sum == pytest.approx(whole.sum)
