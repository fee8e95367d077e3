"""The routes: requests in, responses out. No SQL and no decisions."""

import time

import msgspec
from aiohttp import web

from aggregator.access.checks import EVERY_TOPIC, check_readable
from aggregator.http.event_routes import EventRoutes
from aggregator.http.json_responses import json_response, link_header
from aggregator.http.middleware import REQUEST_CONTEXT, SUMMARY, send_continue
from aggregator.http.problem_details import unavailable
from aggregator.http.read_response import ReadResponse
from aggregator.http.request_body import read_body
from aggregator.http.rights import IDENTITY, entry_of
from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.ingest.publish_service import PublishService
from aggregator.ingest.store_monitor import StoreMonitor
from aggregator.observability.metrics.exposition import CONTENT_TYPE, MetricsExposition
from aggregator.reading.read_limit import ReadLimit
from aggregator.reading.readable_stats import readable_stats
from aggregator.wire.responses import stats_answer
from aggregator.wire.stats_query import next_topics, parse_stats_query
from storage.errors import StorageError
from storage.protocols import EventStore


class Routes:
    """The handlers of the contract's paths, over the parts they are given.

    Args:
        store: what is read.
        monitor: is told of a store that fails.
        publish_service: accepts publishes.
        event_routes: the routes that read events.
        reads: the number of reads at once.
        metrics: renders /metrics.
        body_timeout_s: longest time to wait for all of a body, in seconds.
    """

    def __init__(
        self,
        *,
        store: EventStore,
        monitor: StoreMonitor,
        publish_service: PublishService,
        event_routes: EventRoutes,
        reads: ReadLimit,
        metrics: MetricsExposition,
        body_timeout_s: float,
    ) -> None:
        self._store = store
        self._monitor = monitor
        self._publish_service = publish_service
        self._event_routes = event_routes
        self._reads = reads
        self._metrics = metrics
        self._body_timeout_s = body_timeout_s
        self._started = time.monotonic()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the contract."""
        return [
            web.post("/publish", self.publish, expect_handler=send_continue),
            *self._event_routes.routes(),
            web.get("/stats", self.stats, expect_handler=send_continue),
            web.get("/health", self.health, expect_handler=send_continue),
            web.get("/ready", self.ready, expect_handler=send_continue),
            web.get("/metrics", self.metrics, expect_handler=send_continue),
        ]

    async def publish(self, request: web.Request) -> web.Response:
        """POST /publish: answered only after the commit is durable."""
        with self._publish_service.begin(request.headers, request[IDENTITY]) as publish:
            # The body is kept by nobody here once it is parsed.
            storing = publish.response(
                await read_body(
                    request,
                    publish.reserve_bytes,
                    gzip=publish.form.gzip,
                    max_body_bytes=self._publish_service.limits.max_body_bytes,
                    timeout_s=self._body_timeout_s,
                ),
                request[REQUEST_CONTEXT],
            )
            summary, body, headers = await storing
        request[SUMMARY] = summary
        return json_response(body, headers)

    async def stats(self, request: web.Request) -> ReadResponse:
        """GET /stats: the counts in all and of a page of topics, from one snapshot."""
        entry = entry_of(request)
        wanted = parse_stats_query(request.rel_url.raw_query_string)
        if wanted.topic is not None and not entry.may_metrics:
            check_readable(entry, wanted.topic)
        with self._reads:
            if entry.may_metrics or entry.covers_read(EVERY_TOPIC):
                stats = await self._store.stats(topic=wanted.topic, after=wanted.topics_after)
            else:
                stats = await readable_stats(
                    self._store, entry.may_read, wanted.topic, wanted.topics_after
                )
        uptime_s = time.monotonic() - self._started
        headers = link_header(next_topics(stats)) if stats.more else {}
        headers["Vary"] = "Accept-Encoding"
        return ReadResponse([stats_answer(stats, uptime_s, self._store.backend)], headers)

    async def health(self, _request: web.Request) -> web.Response:
        """GET /health: the process answers."""
        return json_response(msgspec.json.encode({"status": "ok"}))

    async def ready(self, _request: web.Request) -> web.Response:
        """GET /ready: whether a publish would be accepted now, or why not."""
        try:
            self._publish_service.check_accepting()
            await self._store.ping()
        except (ShuttingDown, QueueFull) as error:
            return unavailable(str(error)).response()
        except StorageError as error:
            self._monitor.suspect(error)
            return unavailable(str(error)).response()
        return json_response(msgspec.json.encode({"status": "ready"}))

    async def metrics(self, _request: web.Request) -> ReadResponse:
        """GET /metrics: counts and state, for Prometheus."""
        headers = {"Content-Type": CONTENT_TYPE, "Vary": "Accept-Encoding"}
        return ReadResponse([await self._metrics.render()], headers)
