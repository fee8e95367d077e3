"""Requests by path and status, and how long they took."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from aggregator.metrics.distribution import SECONDS, Distribution

ONE_EVENT = "/events/{topic}/{event_id}"
_PATHS = {"/publish", "/events", "/stats", "/health", "/ready", "/metrics"}


class RequestCounts:
    """Counts of requests; whatever is asked for, there are no more than a few paths."""

    def __init__(self) -> None:
        self._statuses: Counter[tuple[str, int]] = Counter()
        self._durations: dict[str, Distribution] = {}

    def note(self, path: str, status: int, duration_ms: float) -> None:
        """Count one request.

        Args:
            path: as sent, without the query.
            status: of the answer; 0 if there was none.
            duration_ms: until the kernel had the answer, in milliseconds.
        """
        if path not in _PATHS:
            path = ONE_EVENT if path.startswith("/events/") else "other"
        self._statuses[path, status] += 1
        durations = self._durations.get(path)
        if durations is None:
            durations = self._durations[path] = Distribution(SECONDS)
        durations.observe(duration_ms / 1000)

    def families(self) -> Iterator[Metric]:
        """What was counted."""
        requests = CounterMetricFamily(
            "aggregator_requests",
            "Requests by path and status; status 0: the time for draining ended before the answer.",
            labels=["path", "status"],
        )
        for (path, status), count in self._statuses.items():
            requests.add_metric([path, str(status)], count)
        yield requests
        durations = HistogramMetricFamily(
            "aggregator_request_duration_seconds",
            "From the head of a request to the last byte of its answer given to the kernel.",
            labels=["path"],
        )
        for path, measured in self._durations.items():
            durations.add_metric([path], measured.buckets(), measured.sum)
        yield durations
