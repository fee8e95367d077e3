"""What is measured: each request's latency, what was tried again, and both over time."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def quantile(ascending: Sequence[float], share: float) -> float:
    """Give the least value that a share of all values, above 0, does not exceed; exact."""
    return ascending[max(ceil(share * len(ascending)), 1) - 1]


def quantiles(values: "array[float]") -> dict[str, float]:
    """Give the quantiles of QUANTILES; nothing if there are no values."""
    ascending = sorted(values)
    if not ascending:
        return {}
    return {name: quantile(ascending, share) for name, share in QUANTILES.items()}


class Second(NamedTuple):
    """One second of a run, counted from 0 at its start; latencies in seconds, None without any."""

    second: int
    events: int
    requests: int
    retries: int
    p50_s: float | None
    p99_s: float | None


class Measurements:
    """Of one run, in seconds since its start.

    latency_s: of each answered request, from when it was due (open loop) or sent (closed loop), to
    its answer, with all its tries. service_s: from when it was sent, in both.
    """

    def __init__(self) -> None:
        self.latency_s = array("d")
        self.service_s = array("d")
        self.retries: Counter[str] = Counter()
        self.elapsed_s = 0.0
        self._answered_s = array("d")
        self._events = array("I")
        self._retried_in: Counter[int] = Counter()

    def answered(self, at_s: float, events: int, latency_s: float, service_s: float) -> None:
        """Note an answer."""
        self._answered_s.append(at_s)
        self._events.append(events)
        self.latency_s.append(latency_s)
        self.service_s.append(service_s)
        self.elapsed_s = max(self.elapsed_s, at_s)

    def retried(self, at_s: float, reason: str) -> None:
        """Note a try that failed."""
        self.retries[reason] += 1
        self._retried_in[int(at_s)] += 1

    @property
    def events_per_s(self) -> float:
        """Give the events answered per second, up to the last answer."""
        return sum(self._events) / self.elapsed_s if self.elapsed_s else 0.0

    def series(self) -> list[Second]:
        """Give every second of the run."""
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
