"""The measurements of a run: latencies and retries of its requests, in all and second by second."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return an exact quantile: the least value that a share of the values does not exceed.

    Args:
        ascending: the values in ascending order, at least one.
        share: the share, above 0 and at most 1.
    """
    return ascending[max(ceil(share * len(ascending)), 1) - 1]


def quantiles(values: "array[float]") -> dict[str, float]:
    """Return the quantiles of QUANTILES by name; none without values."""
    ascending = sorted(values)
    if not ascending:
        return {}
    return {name: quantile(ascending, share) for name, share in QUANTILES.items()}


class Second(NamedTuple):
    """The measurements of one second of a run.

    Args:
        second: the number of the second, from 0 at the start.
        events: the number of events that were answered.
        requests: the number of requests that were answered.
        retries: the number of attempts that failed.
        p50_s: median latency in seconds, None without a response.
        p99_s: 99th percentile of the latency in seconds, None without a response.
    """

    second: int
    events: int
    requests: int
    retries: int
    p50_s: float | None
    p99_s: float | None


class Measurements:
    """Collects the measurements of one run; times are in seconds since its start.

    `latency_s` has the latency of each answered request, from when it was due (open loop) or sent
    (closed loop) to its response, with all its attempts. `service_s` has the same from when it was
    sent, in both.
    """

    def __init__(self) -> None:
        self.latency_s = array("d")
        self.service_s = array("d")
        self.retries: Counter[str] = Counter()
        self.elapsed_s = 0.0
        self._answered_s = array("d")
        self._events = array("I")
        self._retried_in: Counter[int] = Counter()

    def record_response(self, at_s: float, events: int, latency_s: float, service_s: float) -> None:
        """Record the response to a request.

        Args:
            at_s: the time of the response.
            events: the number of events of the request.
            latency_s: the latency, from when the request was due.
            service_s: the service time, from when it was sent.
        """
        self._answered_s.append(at_s)
        self._events.append(events)
        self.latency_s.append(latency_s)
        self.service_s.append(service_s)
        self.elapsed_s = max(self.elapsed_s, at_s)

    def record_retry(self, at_s: float, reason: str) -> None:
        """Record an attempt that failed at a time and is followed by another."""
        self.retries[reason] += 1
        self._retried_in[int(at_s)] += 1

    @property
    def events_per_s(self) -> float:
        """The throughput up to the last response, in events per second."""
        return sum(self._events) / self.elapsed_s if self.elapsed_s else 0.0

    def series(self) -> list[Second]:
        """Return the measurements second by second, without a gap."""
        latencies: defaultdict[int, list[float]] = defaultdict(list)
        events: Counter[int] = Counter()
        for at_s, count, latency_s in zip(
            self._answered_s, self._events, self.latency_s, strict=True
        ):
            latencies[int(at_s)].append(latency_s)
            events[int(at_s)] += count
        last = max([*events, *self._retried_in], default=-1)
        return [
            self._second(number, events[number], sorted(latencies[number]))
            for number in range(last + 1)
        ]

    def _second(self, number: int, events: int, ascending: list[float]) -> Second:
        p50_s = quantile(ascending, 0.5) if ascending else None
        p99_s = quantile(ascending, 0.99) if ascending else None
        return Second(number, events, len(ascending), self._retried_in[number], p50_s, p99_s)
