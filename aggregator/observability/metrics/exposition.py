"""The page that Prometheus scrapes."""

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
from storage.errors import StorageError
from storage.model import Stats, Usage
from storage.protocols import EventStore

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""The text format, which every scraper reads."""

_ASKED_FOR_S = 5.0
"""The database is asked for so long at most; a scraper gives up after ten seconds."""


class MetricsExposition:
    """What was counted since the process began, and the state now.

    Args:
        store: asked for the counts of the log and for what it takes up.
        most_topics: see `FlushCounts`.
        state: families to be made anew each time.
        in_reach: whether the store can be asked at all.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        most_topics: int,
        state: Iterable[Callable[[], Iterable[Metric]]],
        in_reach: Callable[[], bool],
    ) -> None:
        self.requests = RequestCounts()
        self.flushes = FlushCounts(most_topics)
        self._store = store
        self._state = list(state)
        self._in_reach = in_reach
        self._asking: asyncio.Task[tuple[Stats, Usage]] | None = None

    async def render(self) -> bytes:
        """The page, in the text format.

        Without the log's own families if the database does not answer in time: the others are
        what tells why.
        """
        stats = usage = None
        if self._in_reach():
            with suppress(StorageError, TimeoutError):
                async with asyncio.timeout(_ASKED_FOR_S):
                    stats, usage = await asyncio.shield(self._asked())
        registry = CollectorRegistry()
        registry.register(_Collected(self._families(stats, usage)))
        ProcessCollector(registry=registry)
        return generate_latest(registry)

    async def aclose(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _families(self, stats: Stats | None, usage: Usage | None) -> Iterator[Metric]:
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
        for families in self._state:
            yield from families()
        yield from log_families(stats, usage)

    def _asked(self) -> asyncio.Task[tuple[Stats, Usage]]:
        if self._asking is None or self._asking.done():
            # Who asks again before there is an answer waits for the same one.
            self._asking = asyncio.create_task(self._ask(), name="metrics")
            # Nobody may be there any more to be told of a failure.
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        return self._asking

    async def _ask(self) -> tuple[Stats, Usage]:
        return await self._store.stats(limit=0), await self._store.usage()


class _Collected(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families
