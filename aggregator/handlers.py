"""The HTTP surface: requests in, answers out. No SQL and no decisions."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
from aiohttp import web

from aggregator.body import read_body
from aggregator.conflicts import ConflictLog
from aggregator.ingest.admission import Admission, QueueFull, Reads
from aggregator.ingest.group_commit import GroupCommit, ShuttingDown
from aggregator.problems import NoSuchEvent, unavailable
from aggregator.requests import REQUEST_ID, SUMMARY
from aggregator.watch import StoreWatch
from aggregator.wire.answers import (
    event_answer,
    events_answer,
    publish_answer,
    stats_answer,
    summarize,
)
from aggregator.wire.events import Limits, name_rule_broken, topic_rule_broken
from aggregator.wire.preferences import (
    parse_content_encoding,
    parse_content_type,
    parse_prefer,
)
from aggregator.wire.publish import Batch, parse_publish
from aggregator.wire.query import parse_query
from storage.errors import StorageError
from storage.interface import EventStore
from storage.model import Verdict

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
        admission: Admission,
        reads: Reads,
        group_commit: GroupCommit,
        limits: Limits,
        body_timeout_s: float,
    ) -> None:
        self._store = store
        self._watch = watch
        self._admission = admission
        self._reads = reads
        self._group_commit = group_commit
        self._limits = limits
        self._body_timeout_s = body_timeout_s
        self._conflicts = ConflictLog()
        self._parsers = ThreadPoolExecutor(_PARSERS, thread_name_prefix="parser")
        self._started = time.monotonic()
        self._draining = False

    def routes(self) -> list[web.RouteDef]:
        """The paths of the contract."""
        return [
            web.post("/publish", self.publish),
            web.get("/events", self.events),
            # Not the default pattern, which no id with a brace in it would match.
            web.get("/events/{topic}/{event_id:[^/]+}", self.event),
            web.get("/stats", self.stats),
            web.get("/health", self.health),
            web.get("/ready", self.ready),
        ]

    def stop_taking(self) -> None:
        """Refuse publishes from now on."""
        self._draining = True

    def check_taking(self) -> None:
        """Raise `ShuttingDown`, a `StorageError` or `QueueFull` if no publish is taken now."""
        if self._draining:
            raise ShuttingDown("the aggregator is shutting down")
        self._watch.check()
        self._admission.check()

    def close(self) -> None:
        """Give up what is still being parsed; nobody waits for it any more."""
        self._parsers.shutdown(wait=False, cancel_futures=True)

    async def publish(self, request: web.Request) -> web.Response:
        """POST /publish: answered only after the commit is durable."""
        self.check_taking()
        headers = request.headers
        preferences = parse_prefer(headers.getall("Prefer", ()))
        ndjson = parse_content_type(headers.get("Content-Type"))
        gzip = parse_content_encoding(headers.getall("Content-Encoding", ()))
        with self._admission.ticket() as ticket:
            body = await read_body(
                request,
                ticket,
                gzip=gzip,
                max_body_bytes=self._limits.max_body_bytes,
                timeout_s=self._body_timeout_s,
            )
            size = len(body)
            batch = await self._parse(body, ndjson=ndjson, lenient=preferences.lenient)
            del body
            ticket.take(events=len(batch.events))
            verdicts: Sequence[Verdict] = ()
            if batch.events:
                verdicts = await self._group_commit.submit(batch.events, size)
        summary = summarize(verdicts)
        request[SUMMARY] = summary
        if summary.conflicts:
            self._conflicts.note(verdicts, request[REQUEST_ID])
        answer = publish_answer(
            summary, batch, verdicts, minimal=preferences.minimal, lenient=preferences.lenient
        )
        applied = preferences.applied
        return _json(answer, {"Preference-Applied": applied} if applied else None)

    async def _parse(self, body: bytes, *, ndjson: bool, lenient: bool) -> Batch:
        parse = partial(parse_publish, ndjson=ndjson, lenient=lenient, limits=self._limits)
        if len(body) <= _LARGE_BODY_BYTES:
            return parse(body)
        return await asyncio.get_running_loop().run_in_executor(self._parsers, parse, body)

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
            self.check_taking()
            await self._store.ping()
        except (ShuttingDown, QueueFull) as error:
            return unavailable(str(error))
        except StorageError as error:
            self._watch.suspect(error)
            return unavailable(str(error))
        return _json(msgspec.json.encode({"status": "ready"}))


def _json(body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, headers=headers, content_type="application/json")
