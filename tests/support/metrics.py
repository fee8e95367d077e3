"""What GET /metrics says, read as a scraper reads it."""

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


class Scraped:
    """One page of metrics."""

    def __init__(self, page: str) -> None:
        self.families: list[Metric] = list(text_string_to_metric_families(page))
        self.samples: dict[tuple[str, Labels], float] = {}
        for family in self.families:
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.samples, f"{key} is there twice"
                self.samples[key] = sample.value

    def value(self, name: str, **labels: str) -> float:
        """The one sample of this name with these labels."""
        return self.samples[name, frozenset(labels.items())]

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Sums of the samples of a name, by the values of these labels; none that is 0."""
        sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for (found, of), value in self.samples.items():
            if found == name:
                sums[tuple(dict(of)[label] for label in labels)] += value
        return {values: total for values, total in sums.items() if total}

    def names(self) -> set[str]:
        """What a query may name: of a histogram its three series, also before it has any."""
        return set(_names(self.families))


def _names(families: Iterable[Metric]) -> Iterable[str]:
    for family in families:
        if family.type == "histogram":
            yield from (f"{family.name}_{end}" for end in ("bucket", "sum", "count"))
        elif family.type == "counter":
            yield f"{family.name}_total"
        else:
            yield family.name
