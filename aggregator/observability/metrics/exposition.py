"""The exposition of metrics that Prometheus scrapes."""

import asyncio
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from aggregator import __version__
from aggregator.observability.metrics.flushes import FlushCounts
from aggregator.observability.metrics.gauges import log_families
from aggregator.observability.metrics.http import RequestCounts
from aggregator.observability.metrics.subscription_look import SubscriptionLook, SubscriptionsSeen
from aggregator.observability.metrics.subscriptions import subscription_families
from storage.errors import StorageError
from storage.model import Stats, Usage
from storage.protocols import EventStore

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""The text format, which every scraper reads."""

_MAX_WAIT_S = 5.0
"""Longest time to wait for the database; a scraper gives up after ten seconds."""

_MAX_LOOK_WAIT_S = 1.0
"""Longest time to wait for a look at the subscriptions, behind that."""


class MetricsExposition:
    """Renders what was counted since the process began, and the state now.

    Args:
        store: read for the counts of the log and for what it takes up.
        max_topics: see `FlushCounts`; and for so many subscriptions there are metrics.
        gauges: return metrics that are sampled at scrape time.
        in_reach: returns whether the store can be read at all.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        max_topics: int,
        gauges: Iterable[Callable[[], Iterable[Metric]]],
        in_reach: Callable[[], bool],
    ) -> None:
        self.requests = RequestCounts()
        self.flushes = FlushCounts(max_topics)
        self._store = store
        self._subscriptions = SubscriptionLook(store, max_topics)
        self._gauges = list(gauges)
        self._in_reach = in_reach
        self._reading: asyncio.Task[tuple[Stats, Usage]] | None = None

    async def render(self) -> bytes:
        """Render all metrics in the text format.

        Without those of the log if the database does not answer in time: the others show why.
        """
        stats = usage = seen = None
        if self._in_reach():
            looking = self._subscriptions.start()
            with suppress(StorageError, TimeoutError):
                async with asyncio.timeout(_MAX_WAIT_S):
                    stats, usage = await asyncio.shield(self._read())
                    await asyncio.wait([looking], timeout=_MAX_LOOK_WAIT_S)
            seen = self._subscriptions.seen
        registry = CollectorRegistry()
        registry.register(_Collected(self._families(stats, usage, seen)))
        ProcessCollector(registry=registry)
        return generate_latest(registry)

    async def aclose(self) -> None:
        """Stop reading the store."""
        await self._subscriptions.aclose()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _families(
        self, stats: Stats | None, usage: Usage | None, seen: SubscriptionsSeen | None
    ) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "aggregator_build",
            "What runs.",
            {
                "version": __version__,
                "python": platform.python_version(),
                "backend": self._store.backend,
            },
        )
        yield from self.flushes.families()
        yield from self.requests.families()
        for families in self._gauges:
            yield from families()
        yield from subscription_families(seen)
        yield from log_families(stats, usage)

    def _read(self) -> asyncio.Task[tuple[Stats, Usage]]:
        if self._reading is None or self._reading.done():
            # Scrapers that come before there is an answer wait for the same one.
            self._reading = asyncio.create_task(self._read_store(), name="metrics")
            # Nobody may be there any more to see a failure.
            self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._reading

    async def _read_store(self) -> tuple[Stats, Usage]:
        return await self._store.stats(limit=0), await self._store.usage()


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families
