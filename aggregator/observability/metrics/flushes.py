"""Flush metrics: events by topic and verdict, and the transactions that stored them."""

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from aggregator.ingest.flush import Flush, FlushOutcome
from aggregator.observability.labels import OTHER_TOPICS
from aggregator.observability.metrics.histogram import EVENTS, SECONDS, Histogram
from storage.model import Status


class FlushCounts:
    """Counts flushes.

    Args:
        max_topics: topics counted by name, those that come first; the others are counted together.
            A name stays for as long as the process runs, so that no count goes down.
    """

    def __init__(self, max_topics: int) -> None:
        self._max_topics = max_topics
        self._names: dict[str, str] = {}
        self._events: Counter[tuple[str, Status]] = Counter()
        self._failures: Counter[FlushOutcome] = Counter()
        self._retries = 0
        self._durations = Histogram(SECONDS)
        self._commits = Histogram(SECONDS)
        self._sizes = Histogram(EVENTS)

    def observe(self, flush: Flush, by_topic: Mapping[tuple[str, Status], int]) -> None:
        """Count one flush.

        Args:
            flush: that is over.
            by_topic: its events by topic and verdict; none if it failed.
        """
        outcome = flush.outcome
        if outcome is not FlushOutcome.COMMITTED:
            self._failures[outcome] += 1
            # It is tried again request by request.
            self._retries += outcome is FlushOutcome.REFUSED and flush.requests > 1
            return
        self._durations.observe(flush.duration_ms / 1000)
        self._commits.observe(flush.commit_s)
        self._sizes.observe(flush.events)
        for (topic, status), count in by_topic.items():
            self._events[self._name(topic), status] += count

    def families(self) -> Iterator[Metric]:
        """Return the metrics of flushes."""
        events = CounterMetricFamily(
            "aggregator_events",
            "Events that this process had committed, by topic and verdict.",
            labels=["topic", "verdict"],
        )
        for name in sorted(set(self._names.values())):
            for status in Status:
                events.add_metric([name, status.value], self._events[name, status])
        yield events
        yield _histogram(
            "aggregator_flush_duration_seconds",
            "From giving the store a batch to its verdicts, for those committed.",
            self._durations,
        )
        yield _histogram(
            "aggregator_commit_duration_seconds",
            "The COMMIT of a batch alone: what the disk takes.",
            self._commits,
        )
        yield _histogram(
            "aggregator_flush_events", "Events in one committed transaction.", self._sizes
        )
        failures = CounterMetricFamily(
            "aggregator_flush_failures", "Flushes that failed, by reason.", labels=["reason"]
        )
        for outcome in FlushOutcome:
            if outcome is not FlushOutcome.COMMITTED:
                failures.add_metric([outcome.value], self._failures[outcome])
        yield failures
        yield CounterMetricFamily(
            "aggregator_flush_retries",
            "Refused batches that were tried again request by request.",
            self._retries,
        )

    def _name(self, topic: str) -> str:
        name = self._names.get(topic)
        if name is None:
            if len(self._names) >= self._max_topics:
                # Under its own key too, and not each topic's: their number has no bound.
                return self._names.setdefault(OTHER_TOPICS, OTHER_TOPICS)
            name = self._names[topic] = topic
        return name


def _histogram(name: str, documentation: str, measured: Histogram) -> Metric:
    return HistogramMetricFamily(name, documentation, measured.buckets(), measured.sum)
