"""A histogram that costs one look-up and two additions an observation."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for durations: a commit on a quick disk up to a busy timeout."""

EVENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Bounds for sizes of batches."""


class Histogram:
    """How many observations there were up to each of some bounds, and their sum.

    Args:
        bounds: ascending, each the greatest value that still counts for it.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def count(self) -> int:
        """How many observations there were."""
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, float]]:
        """As `HistogramMetricFamily` takes them: each bound with all that was up to it."""
        names = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))


def merged(parts: Sequence[Histogram]) -> Histogram:
    """One with the observations of all, at least one, which have the same bounds."""
    whole = Histogram(parts[0].bounds)
    whole.counts = [sum(counts) for counts in zip(*(part.counts for part in parts), strict=True)]
    whole.sum = sum(part.sum for part in parts)
    return whole
