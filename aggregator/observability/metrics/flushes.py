"""Events by topic and verdict, and the transactions that they were stored in."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from aggregator.ingest.group_commit import Flush
from aggregator.observability.metrics.histogram import EVENTS, SECONDS, Histogram
from storage.errors import BatchRefused, OutcomeUnknown, StorageUnavailable
from storage.model import Status

OTHER_TOPICS = "(other)"
"""No topic has this name: parentheses are not allowed in one."""

_UNFORESEEN = "unforeseen"
_FAILURES: dict[type[BaseException], str] = {
    StorageUnavailable: "unavailable",
    BatchRefused: "refused",
    OutcomeUnknown: "unknown",
    asyncio.CancelledError: "drained",
}


def failure_reason(error: BaseException) -> str:
    """The reason of a failed flush in one word, the same for errors of one family."""
    for kind, reason in _FAILURES.items():
        if isinstance(error, kind):
            return reason
    return _UNFORESEEN


class FlushCounts:
    """Counts of flushes.

    Args:
        most_topics: so many topics are counted by name, those that come first; together the others
            are one more. A name stays for as long as the process runs, so that no count goes down.
    """

    def __init__(self, most_topics: int) -> None:
        self._most_topics = most_topics
        self._names: dict[str, str] = {}
        self._events: Counter[tuple[str, Status]] = Counter()
        self._failures: Counter[str] = Counter()
        self._retries = 0
        self._durations = Histogram(SECONDS)
        self._commits = Histogram(SECONDS)
        self._sizes = Histogram(EVENTS)

    def note(self, flush: Flush, counts: Mapping[tuple[str, Status], int]) -> None:
        """Count one flush, before its verdicts are told.

        Args:
            counts: of its events, by topic and verdict; none if it failed.
        """
        if flush.error is not None:
            self._failures[failure_reason(flush.error)] += 1
            # It is tried again request by request.
            self._retries += isinstance(flush.error, BatchRefused) and flush.requests > 1
            return
        self._durations.observe(flush.duration_ms / 1000)
        self._commits.observe(flush.commit_s)
        self._sizes.observe(flush.events)
        for (topic, status), count in counts.items():
            self._events[self._name(topic), status] += count

    def families(self) -> Iterator[Metric]:
        """What was counted."""
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
        for reason in (*_FAILURES.values(), _UNFORESEEN):
            failures.add_metric([reason], self._failures[reason])
        yield failures
        yield CounterMetricFamily(
            "aggregator_flush_retries",
            "Refused batches that were tried again request by request.",
            self._retries,
        )

    def _name(self, topic: str) -> str:
        name = self._names.get(topic)
        if name is None:
            if len(self._names) >= self._most_topics:
                # Under its own key too, and not each topic's: their number has no bound.
                return self._names.setdefault(OTHER_TOPICS, OTHER_TOPICS)
            name = self._names[topic] = topic
        return name


def _histogram(name: str, documentation: str, measured: Histogram) -> Metric:
    return HistogramMetricFamily(name, documentation, measured.buckets(), measured.sum)
