"""Quantiles are exact, and the seconds add up to the run."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from publisher.load.measurements import QUANTILES, Measurements, quantile, quantiles


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=300), st.floats(0.001, 1.0))
def test_a_quantile_is_the_least_value_that_so_large_a_share_does_not_exceed(
    values: list[float], share: float
) -> None:
    found = quantile(sorted(values), share)
    assert found in values
    # Tolerant by less than one value, as share * len is not always exact.
    needed = share * len(values) - 1e-9
    assert sum(1 for value in values if value <= found) >= needed
    assert sum(1 for value in values if value < found) < needed + 1e-6


def test_the_named_quantiles_of_a_thousand_values() -> None:
    shuffled = array("d", [(number * 7 % 1000) + 1.0 for number in range(1000)])
    assert quantiles(shuffled) == {
        "p50": 500.0,
        "p90": 900.0,
        "p99": 990.0,
        "p99.9": 999.0,
        "max": 1000.0,
    }
    assert list(QUANTILES) == ["p50", "p90", "p99", "p99.9", "max"]


def test_the_quantiles_of_nothing_are_none() -> None:
    assert quantiles(array("d")) == {}


def test_each_second_has_its_answers_and_its_retries() -> None:
    measured = Measurements()
    for at_s, latency_s in ((0.1, 0.010), (0.9, 0.030), (0.5, 0.020), (3.2, 0.5)):
        measured.record_response(at_s, 100, latency_s, latency_s / 2)
    measured.record_retry(1.5, "the connection was lost")
    measured.record_retry(1.7, "the connection was lost")
    measured.record_retry(4.1, "503 the queue is full")
    assert [tuple(second) for second in measured.series()] == [
        (0, 300, 3, 0, 0.020, 0.030),
        (1, 0, 0, 2, None, None),
        (2, 0, 0, 0, None, None),
        (3, 100, 1, 0, 0.5, 0.5),
        (4, 0, 0, 1, None, None),
    ]
    assert measured.retries == {"the connection was lost": 2, "503 the queue is full": 1}
    assert measured.elapsed_s == 3.2
    assert measured.events_per_s == 400 / 3.2


def test_a_run_without_an_answer_has_no_seconds() -> None:
    assert Measurements().series() == []
    assert Measurements().events_per_s == 0.0
