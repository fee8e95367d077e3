"""What is counted of requests and flushes, and that the number of series has a bound."""

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest
from prometheus_client.metrics_core import Metric

from aggregator.ingest.flush import Flush
from aggregator.observability.metrics.flushes import FlushCounts
from aggregator.observability.metrics.http import RequestCounts
from storage.errors import BatchRefused, OutcomeUnknown, StorageUnavailable
from storage.model import Status


def samples(families: Iterable[Metric], name: str) -> dict[tuple[str, ...], float]:
    """Samples of one name that are not 0, by the values of their labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and sample.value
    }


Noted = tuple[Flush, Counter[tuple[str, Status]]]


def committed(*verdicts: tuple[str, Status]) -> Noted:
    return Flush(len(verdicts), 1, 2.0, None), Counter(verdicts)


def failed(error: BaseException, requests: int = 1) -> Noted:
    return Flush(3, requests, 2.0, error), Counter()


def test_events_are_counted_by_topic_and_verdict() -> None:
    counts = FlushCounts(10)
    counts.observe(*committed(("a", Status.STORED), ("a", Status.STORED), ("b", Status.CONFLICT)))
    counts.observe(*committed(("a", Status.DUPLICATE), ("a", Status.STORED)))
    assert samples(counts.families(), "aggregator_events_total") == {
        ("a", "stored"): 3,
        ("a", "duplicate"): 1,
        ("b", "conflict"): 1,
    }


def test_a_topic_that_is_counted_has_a_series_for_every_verdict() -> None:
    # What is there only once it has happened shows no rise when it happens first.
    counts = FlushCounts(10)
    counts.observe(*committed(("a", Status.STORED)))
    (events,) = [each for each in counts.families() if each.name == "aggregator_events"]
    assert [sample.value for sample in events.samples] == [1, 0, 0]


def test_topics_beyond_the_bound_are_counted_together() -> None:
    counts = FlushCounts(2)
    for number in range(100):
        counts.observe(*committed((f"t-{number}", Status.STORED)))
    counts.observe(*committed(("t-0", Status.STORED), ("t-99", Status.DUPLICATE)))
    assert samples(counts.families(), "aggregator_events_total") == {
        ("t-0", "stored"): 2,
        ("t-1", "stored"): 1,
        ("(other)", "stored"): 98,
        ("(other)", "duplicate"): 1,
    }
    assert len(counts._names) == 3, "what is remembered has a bound, too"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StorageUnavailable("gone"), "unavailable"),
        (BatchRefused("no"), "refused"),
        (OutcomeUnknown("who knows"), "unknown"),
        (asyncio.CancelledError(), "drained"),
        (ZeroDivisionError(), "unforeseen"),
    ],
)
def test_failures_are_counted_by_reason_and_count_no_events(
    error: BaseException, reason: str
) -> None:
    counts = FlushCounts(2)
    counts.observe(*failed(error))
    assert samples(counts.families(), "aggregator_flush_failures_total") == {(reason,): 1}
    assert samples(counts.families(), "aggregator_flush_events_count") == {}
    assert samples(counts.families(), "aggregator_flush_duration_seconds_count") == {}


def test_only_a_refused_batch_of_several_requests_is_a_retry() -> None:
    counts = FlushCounts(2)
    for flush in (failed(BatchRefused("no")), failed(StorageUnavailable("gone"), requests=2)):
        counts.observe(*flush)
    assert samples(counts.families(), "aggregator_flush_retries_total") == {}
    counts.observe(*failed(BatchRefused("no"), requests=2))
    assert samples(counts.families(), "aggregator_flush_retries_total") == {(): 1}


def test_requests_are_counted_by_route_and_what_leads_nowhere_together() -> None:
    counts = RequestCounts()
    for _ in range(50):
        counts.observe("", 404, 1.0)
        counts.observe("/events/{topic}/{event_id}", 200, 1.0)
    counts.observe("/publish", 200, 7.0)
    counts.observe("/publish", 503, 0.5)
    assert samples(counts.families(), "aggregator_requests_total") == {
        ("other", "404"): 50,
        ("/events/{topic}/{event_id}", "200"): 50,
        ("/publish", "200"): 1,
        ("/publish", "503"): 1,
    }
    buckets = samples(counts.families(), "aggregator_request_duration_seconds_bucket")
    assert buckets["/publish", "0.001"] == 1
    assert buckets["/publish", "0.005"] == 1
    assert buckets["/publish", "0.01"] == 2
    (sum_,) = [
        sample.value
        for family in counts.families()
        for sample in family.samples
        if sample.name.endswith("_sum") and sample.labels["path"] == "/publish"
    ]
    assert sum_ == pytest.approx(0.0075)
