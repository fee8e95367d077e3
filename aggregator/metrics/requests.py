"""Requests by path and status, and how long they took."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from aggregator.metrics.distribution import SECONDS, Distribution, merged

ONE_EVENT = "/events/{topic}/{event_id}"
_PATHS = {"/publish", "/events", "/stats", "/health", "/ready", "/metrics"}


class RequestCounts:
    """Counts of requests; whatever is asked for, there are no more than a few paths."""

    def __init__(self) -> None:
        self._durations: dict[tuple[str, int], Distribution] = {}

    def note(self, path: str, status: int, duration_ms: float) -> None:
        """Count one request.

        Args:
            path: as sent, without the query.
            status: of the answer; 0 if there was none.
            duration_ms: until the kernel had the answer, in milliseconds.
        """
        durations = self._durations.get((path, status))
        if durations is None:
            durations = self._first(path, status)
        durations.observe(duration_ms / 1000)

    def families(self) -> Iterator[Metric]:
        """What was counted."""
        requests = CounterMetricFamily(
            "aggregator_requests",
            "Requests by path and status; status 0: the time for draining ended before the answer.",
            labels=["path", "status"],
        )
        by_path: dict[str, list[Distribution]] = {}
        for (path, status), measured in self._durations.items():
            requests.add_metric([path, str(status)], measured.count())
            by_path.setdefault(path, []).append(measured)
        yield requests
        durations = HistogramMetricFamily(
            "aggregator_request_duration_seconds",
            "From the head of a request to the last byte of its answer given to the kernel.",
            labels=["path"],
        )
        for path, parts in by_path.items():
            together = merged(parts)
            durations.add_metric([path], together.buckets(), together.sum)
        yield durations

    def _first(self, path: str, status: int) -> Distribution:
        # Under the name that is told: whatever is asked for, there are no more than a few.
        if path not in _PATHS:
            path = ONE_EVENT if path.startswith("/events/") else "other"
        return self._durations.setdefault((path, status), Distribution(SECONDS))
