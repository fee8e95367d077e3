"""The routes that read events: pages of the log, and single events."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from aiohttp import hdrs, web
from msgspec.structs import replace

from aggregator.http.json_responses import link_header
from aggregator.http.middleware import send_continue
from aggregator.http.ndjson import one_line, stream_lines
from aggregator.http.problem_details import NoSuchEvent
from aggregator.http.read_response import ReadResponse
from aggregator.reading.event_stream import EventStream
from aggregator.reading.read_limit import ReadLimit
from aggregator.reading.read_memory import ReadMemory
from aggregator.reading.stream_limit import StreamLimit
from aggregator.wire.accept import wants_lines
from aggregator.wire.event_encoding import encode_objects
from aggregator.wire.event_query import parse_query
from aggregator.wire.event_rules import name_rule_broken, topic_rule_broken
from aggregator.wire.responses import events_answer
from storage.errors import PayloadOverLimit
from storage.model import EventColumns, Page
from storage.protocols import EventReader
from storage.reading.page_fetch import event_memory_bytes, page_memory_bytes

_EXPECTED_PAYLOAD_BYTES = 2**20
"""A read reserves memory for payloads of this size, and begins anew if it meets a larger one."""

_Result = TypeVar("_Result")


class EventRoutes:
    """The handlers of `/events`, over the parts they are given.

    Args:
        store: what is read.
        reads: the number of reads at once.
        streams: the number of streamed answers at once.
        read_memory: the memory of reads.
    """

    def __init__(
        self,
        *,
        store: EventReader,
        reads: ReadLimit,
        streams: StreamLimit,
        read_memory: ReadMemory,
    ) -> None:
        self._store = store
        self._streams = streams
        self._reads = reads
        self._read_memory = read_memory

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the contract that read events."""
        return [
            web.get("/events", self.events, expect_handler=send_continue),
            # Not the default pattern, which no id with a brace in it would match.
            web.get("/events/{topic}/{event_id:[^/]+}", self.event, expect_handler=send_continue),
        ]

    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /events: a page of the log, and a Link to the next; or the one event asked for.

        As NDJSON, all of the log that is asked for.
        """
        answer = await self._events(request)
        answer.headers[hdrs.VARY] = "Accept, Accept-Encoding"
        return answer

    async def _events(self, request: web.Request) -> web.StreamResponse:
        lines = wants_lines(request.headers.getall(hdrs.ACCEPT, ()))
        wanted = parse_query(request.rel_url.raw_query_string, time.time_ns() // 1000, lines=lines)
        query = wanted.query
        if lines and wanted.event_id is None:
            return await stream_lines(
                EventStream(self._store, query, self._streams, self._read_memory)
            )
        if query.topic is not None and wanted.event_id is not None:
            return await self._get(
                query.topic,
                wanted.event_id,
                one_line if lines else _one_event,
            )

        def answer(page: Page[bytes]) -> ReadResponse:
            headers = {} if page.next is None else link_header(wanted.next_target(page.next))
            if page.head is not None:
                headers |= {"Log-Head": str(page.head), "Log-Start": "1"}
            return ReadResponse(events_answer(page), headers)

        return await self._read(
            partial(page_memory_bytes, query.limit, query.max_bytes),
            lambda size: self._store.read(replace(query, max_payload_bytes=size), encode_objects),
            answer,
        )

    async def event(self, request: web.Request) -> ReadResponse:
        """GET /events/{topic}/{event_id}: one event, or 404."""
        topic, event_id = request.match_info["topic"], request.match_info["event_id"]

        def answer(found: EventColumns | None) -> ReadResponse:
            if found is None:
                raise NoSuchEvent(f"topic {topic!r} has no event {event_id!r}")
            return ReadResponse([encode_objects(found)], {"Vary": "Accept-Encoding"})

        if topic_rule_broken(topic) or name_rule_broken(event_id):
            # It is not stored, and a database may refuse to be asked for it.
            return answer(None)
        return await self._get(topic, event_id, answer)

    async def _get(
        self, topic: str, event_id: str, answer: Callable[[EventColumns | None], ReadResponse]
    ) -> ReadResponse:
        return await self._read(
            event_memory_bytes,
            lambda size: self._store.get(topic, event_id, max_payload_bytes=size),
            answer,
        )

    async def _read(
        self,
        memory_bytes: Callable[[int], int],
        read: Callable[[int], Awaitable[_Result]],
        answer: Callable[[_Result], ReadResponse],
    ) -> ReadResponse:
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


def _one_event(found: EventColumns | None) -> ReadResponse:
    return ReadResponse([b"[]" if found is None else b"[%b]" % encode_objects(found)])
