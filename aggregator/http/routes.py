"""The routes: requests in, answers out. No SQL and no decisions."""

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

import msgspec
from aiohttp import web
from msgspec.structs import replace

from aggregator.http.middleware import REQUEST_CONTEXT, SUMMARY, send_continue
from aggregator.http.problem_details import NoSuchEvent, unavailable
from aggregator.http.request_body import read_body
from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.ingest.publish_service import PublishService
from aggregator.ingest.store_monitor import StoreMonitor
from aggregator.observability.metrics.exposition import CONTENT_TYPE, MetricsExposition
from aggregator.reading.read_limit import ReadLimit
from aggregator.reading.read_memory import ReadMemory
from aggregator.wire.event_encoding import encode_objects
from aggregator.wire.event_query import parse_query
from aggregator.wire.event_rules import name_rule_broken, topic_rule_broken
from aggregator.wire.responses import events_answer, stats_answer
from aggregator.wire.stats_query import next_topics, parse_stats_query
from storage.errors import PayloadOverLimit, StorageError
from storage.model import EventColumns, Page
from storage.protocols import EventStore
from storage.reading.page_fetch import event_memory_bytes, page_memory_bytes

_EXPECTED_PAYLOAD_BYTES = 2**20
"""A read reserves memory for payloads of this size, and begins anew if it meets a larger one."""

_Result = TypeVar("_Result")


class Routes:
    """The handlers of the contract's paths, over the parts they are given.

    Args:
        store: what is read.
        monitor: is told of a store that fails.
        publish_service: accepts publishes.
        reads: the number of reads at once.
        read_memory: the memory of reads.
        metrics: renders /metrics.
        body_timeout_s: longest time to wait for all of a body, in seconds.
    """

    def __init__(
        self,
        *,
        store: EventStore,
        monitor: StoreMonitor,
        publish_service: PublishService,
        reads: ReadLimit,
        read_memory: ReadMemory,
        metrics: MetricsExposition,
        body_timeout_s: float,
    ) -> None:
        self._store = store
        self._monitor = monitor
        self._publish_service = publish_service
        self._reads = reads
        self._read_memory = read_memory
        self._metrics = metrics
        self._body_timeout_s = body_timeout_s
        self._started = time.monotonic()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the contract."""
        return [
            web.post("/publish", self.publish, expect_handler=send_continue),
            web.get("/events", self.events, expect_handler=send_continue),
            # Not the default pattern, which no id with a brace in it would match.
            web.get("/events/{topic}/{event_id:[^/]+}", self.event, expect_handler=send_continue),
            web.get("/stats", self.stats, expect_handler=send_continue),
            web.get("/health", self.health, expect_handler=send_continue),
            web.get("/ready", self.ready, expect_handler=send_continue),
            web.get("/metrics", self.metrics, expect_handler=send_continue),
        ]

    async def publish(self, request: web.Request) -> web.Response:
        """POST /publish: answered only after the commit is durable."""
        with self._publish_service.begin(request.headers) as publish:
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
        return _json(body, headers)

    async def events(self, request: web.Request) -> web.Response:
        """GET /events: a page of the log, and a Link to the next; or the one event asked for."""
        wanted = parse_query(request.rel_url.raw_query_string, time.time_ns() // 1000)
        query = wanted.query
        if query.topic is not None and wanted.event_id is not None:
            return await self._get(
                query.topic,
                wanted.event_id,
                lambda found: _json(b"[]" if found is None else b"[%b]" % encode_objects(found)),
            )

        def answer(page: Page[bytes]) -> web.Response:
            headers = {} if page.next is None else _link(wanted.next_target(page.next))
            if page.head is not None:
                headers |= {"Log-Head": str(page.head), "Log-Start": "1"}
            return _json(events_answer(page), headers)

        return await self._read(
            partial(page_memory_bytes, query.limit, query.max_bytes),
            lambda size: self._store.read(replace(query, max_payload_bytes=size), encode_objects),
            answer,
        )

    async def event(self, request: web.Request) -> web.Response:
        """GET /events/{topic}/{event_id}: one event, or 404."""
        topic, event_id = request.match_info["topic"], request.match_info["event_id"]

        def answer(found: EventColumns | None) -> web.Response:
            if found is None:
                raise NoSuchEvent(f"topic {topic!r} has no event {event_id!r}")
            return _json(encode_objects(found))

        if topic_rule_broken(topic) or name_rule_broken(event_id):
            # It is not stored, and a database may refuse to be asked for it.
            return answer(None)
        return await self._get(topic, event_id, answer)

    async def _get(
        self, topic: str, event_id: str, answer: Callable[[EventColumns | None], web.Response]
    ) -> web.Response:
        return await self._read(
            event_memory_bytes,
            lambda size: self._store.get(topic, event_id, max_payload_bytes=size),
            answer,
        )

    async def _read(
        self,
        memory_bytes: Callable[[int], int],
        read: Callable[[int], Awaitable[_Result]],
        answer: Callable[[_Result], web.Response],
    ) -> web.Response:
        """Read within the memory that reads may hold.

        Args:
            memory_bytes: returns the bytes it needs at most, for payloads up to so many bytes.
            read: the read, which fetches no larger payloads.
            answer: made in one go, so that only one of them is being made at any time.
        """
        max_payload_bytes = _EXPECTED_PAYLOAD_BYTES
        with self._reads:
            while True:
                async with self._read_memory.reserve(memory_bytes(max_payload_bytes)):
                    try:
                        return answer(await read(max_payload_bytes))
                    except PayloadOverLimit as error:
                        max_payload_bytes = error.payload_bytes

    async def stats(self, request: web.Request) -> web.Response:
        """GET /stats: the counts in all and of a page of topics, from one snapshot."""
        wanted = parse_stats_query(request.rel_url.raw_query_string)
        with self._reads:
            stats = await self._store.stats(topic=wanted.topic, after=wanted.topics_after)
        uptime_s = time.monotonic() - self._started
        headers = _link(next_topics(stats)) if stats.more else {}
        return _json(stats_answer(stats, uptime_s, self._store.backend), headers)

    async def health(self, _request: web.Request) -> web.Response:
        """GET /health: the process answers."""
        return _json(msgspec.json.encode({"status": "ok"}))

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
        return _json(msgspec.json.encode({"status": "ready"}))

    async def metrics(self, _request: web.Request) -> web.Response:
        """GET /metrics: counts and state, for Prometheus."""
        return web.Response(
            body=await self._metrics.render(), headers={"Content-Type": CONTENT_TYPE}
        )


def _link(target: str) -> dict[str, str]:
    return {"Link": f'<{target}>; rel="next"'}


def _json(body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=body, headers=headers, content_type="application/json")
