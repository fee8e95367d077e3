"""The HTTP surface: requests in, answers out. No SQL and no decisions."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec
from aiohttp import web

from aggregator.body import read_body
from aggregator.ingest.admission import QueueFull, Reads
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.metrics.page import CONTENT_TYPE, MetricsPage
from aggregator.problems import NoSuchEvent, unavailable
from aggregator.publishing import Form, Publishing, form_of
from aggregator.requests import ASKED, SUMMARY, send_continue
from aggregator.watch import StoreWatch
from aggregator.wire.answers import event_answer, events_answer, stats_answer
from aggregator.wire.events import name_rule_broken, topic_rule_broken
from aggregator.wire.publish import Batch
from aggregator.wire.query import parse_query
from storage.errors import StorageError
from storage.interface import EventStore

_LARGE_BODY_BYTES = 64 * 1024
"""Bodies above this are parsed off the event loop."""

_PARSERS = 2
"""At most so many at once: what parsing needs for a while is a multiple of the body."""


class Handlers:
    """What answers the contract's paths, over the parts it is given."""

    def __init__(
        self,
        *,
        store: EventStore,
        watch: StoreWatch,
        publishing: Publishing,
        reads: Reads,
        metrics: MetricsPage,
        body_timeout_s: float,
    ) -> None:
        self._store = store
        self._watch = watch
        self._publishing = publishing
        self._reads = reads
        self._metrics = metrics
        self._body_timeout_s = body_timeout_s
        self._parsers = ThreadPoolExecutor(_PARSERS, thread_name_prefix="parser")
        self._started = time.monotonic()

    def routes(self) -> list[web.RouteDef]:
        """The paths of the contract."""
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

    def close(self) -> None:
        """Give up what is still being parsed; nobody waits for it any more."""
        self._parsers.shutdown(wait=False, cancel_futures=True)

    async def publish(self, request: web.Request) -> web.Response:
        """POST /publish: answered only after the commit is durable."""
        publishing = self._publishing
        publishing.check_taking()
        form = form_of(request.headers)
        with publishing.ticket() as ticket:
            body = await read_body(
                request,
                ticket,
                gzip=form.gzip,
                max_body_bytes=publishing.limits.max_body_bytes,
                timeout_s=self._body_timeout_s,
            )
            size = len(body)
            batch = await self._parse(body, form)
            del body
            ticket.take(events=len(batch.events))
            # A caller that is cancelled gives up its future alone: the batch goes on.
            verdicts = await publishing.store(batch.events, size, request[ASKED])
        summary, answer, headers = publishing.answer(form, batch, verdicts, request[ASKED])
        request[SUMMARY] = summary
        return _json(answer, headers)

    async def _parse(self, body: bytes, form: Form) -> Batch:
        if len(body) <= _LARGE_BODY_BYTES:
            return self._publishing.parse(body, form)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._parsers, self._publishing.parse, body, form)

    async def events(self, request: web.Request) -> web.Response:
        """GET /events: a page of the log, and a Link to the next."""
        wanted = parse_query(request.rel_url.raw_query_string)
        with self._reads:
            page = await self._store.read(wanted.query)
        headers = {}
        if page.next is not None:
            target = wanted.next_target(request.path, page.next)
            headers["Link"] = f'<{target}>; rel="next"'
        return _json(events_answer(page.events), headers)

    async def event(self, request: web.Request) -> web.Response:
        """GET /events/{topic}/{event_id}: one event, or 404."""
        topic, event_id = request.match_info["topic"], request.match_info["event_id"]
        # A key that breaks a rule is not stored, and a database may refuse to be asked for it.
        broken = topic_rule_broken(topic) or name_rule_broken(event_id)
        found = None
        if not broken:
            with self._reads:
                found = await self._store.get(topic, event_id)
        if found is None:
            raise NoSuchEvent(f"topic {topic!r} has no event {event_id!r}")
        return _json(event_answer(found))

    async def stats(self, _request: web.Request) -> web.Response:
        """GET /stats: the counts, from one snapshot of the database."""
        with self._reads:
            topics = await self._store.stats()
        uptime_s = time.monotonic() - self._started
        return _json(stats_answer(topics, uptime_s, self._store.backend))

    async def health(self, _request: web.Request) -> web.Response:
        """GET /health: the process answers."""
        return _json(msgspec.json.encode({"status": "ok"}))

    async def ready(self, _request: web.Request) -> web.Response:
        """GET /ready: whether a publish would be accepted now, or why not."""
        try:
            self._publishing.check_taking()
            await self._store.ping()
        except (ShuttingDown, QueueFull) as error:
            return unavailable(str(error)).response()
        except StorageError as error:
            self._watch.suspect(error)
            return unavailable(str(error)).response()
        return _json(msgspec.json.encode({"status": "ready"}))

    async def metrics(self, _request: web.Request) -> web.Response:
        """GET /metrics: counts and state, for Prometheus."""
        return web.Response(
            body=await self._metrics.render(), headers={"Content-Type": CONTENT_TYPE}
        )


def _json(body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=body, headers=headers, content_type="application/json")
