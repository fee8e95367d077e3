"""HTTP metrics: requests by route and status, and how long they took."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from aggregator.observability.labels import OTHER_PATHS
from aggregator.observability.metrics.histogram import SECONDS, Histogram, merged


class RequestCounts:
    """Counts requests by the patterns of their paths, which are few whatever clients send."""

    def __init__(self) -> None:
        self._durations: dict[tuple[str, int], Histogram] = {}

    def observe(self, route: str, status: int, duration_ms: float) -> None:
        """Count one request.

        Args:
            route: the pattern that its path fits; empty if there is none.
            status: of the answer; 0 if there was none.
            duration_ms: until the kernel had the answer, in milliseconds.
        """
        durations = self._durations.get((route, status))
        if durations is None:
            durations = self._durations[route, status] = Histogram(SECONDS)
        durations.observe(duration_ms / 1000)

    def families(self) -> Iterator[Metric]:
        """Return the metrics of requests."""
        requests = CounterMetricFamily(
            "aggregator_requests",
            "Requests by path and status; status 0: the client had gone, or the drain timeout "
            "was exceeded, before the answer was sent.",
            labels=["path", "status"],
        )
        by_path: dict[str, list[Histogram]] = {}
        for (route, status), measured in self._durations.items():
            path = route or OTHER_PATHS
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
