"""The routes that read events: pages of the log, and single events."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from aiohttp import hdrs, web
from msgspec.structs import replace

from aggregator.access.checks import check_all_readable, check_readable
from aggregator.http.compression import Compression
from aggregator.http.held_pages import HeldPages, wait_s
from aggregator.http.json_responses import link_header
from aggregator.http.live_streams import LiveStreams
from aggregator.http.log_headers import log_headers
from aggregator.http.middleware import send_continue
from aggregator.http.ndjson import one_line, stream_lines
from aggregator.http.problem_details import NoSuchEvent
from aggregator.http.read_response import ReadResponse
from aggregator.http.rights import entry_of
from aggregator.reading.bounded_read import read_bounded
from aggregator.reading.event_stream import EventStream
from aggregator.reading.read_limit import ReadLimit
from aggregator.reading.read_memory import ReadMemory
from aggregator.reading.stream_limit import StreamLimit
from aggregator.wire.accept import EVENT_STREAM, NDJSON, preferred_media_type
from aggregator.wire.event_encoding import encode_objects
from aggregator.wire.event_query import ReadRequest, parse_query
from aggregator.wire.event_rules import name_rule_broken, topic_rule_broken
from aggregator.wire.responses import events_answer
from aggregator.wire.stream_query import wants_to_follow
from storage.model import EventColumns, Page
from storage.protocols import EventReader
from storage.reading.page_fetch import event_memory_bytes, page_memory_bytes

_Read = TypeVar("_Read")


class EventRoutes:
    """The handlers of `/events`, over the parts they are given.

    Args:
        store: what is read.
        reads: the number of reads at once.
        streams: the number of streamed answers at once.
        read_memory: the memory of reads.
        held_pages: answers reads that wait.
        live_streams: answers reads that follow the log.
        compression: compresses what is read.
    """

    def __init__(
        self,
        *,
        store: EventReader,
        reads: ReadLimit,
        streams: StreamLimit,
        read_memory: ReadMemory,
        held_pages: HeldPages,
        live_streams: LiveStreams,
        compression: Compression,
    ) -> None:
        self._compression = compression
        self._store = store
        self._streams = streams
        self._reads = reads
        self._read_memory = read_memory
        self._held_pages = held_pages
        self._live_streams = live_streams

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the contract that read events."""
        return [
            web.get("/events", self.events, expect_handler=send_continue),
            # Not the default pattern, which no id with a brace in it would match.
            web.get("/events/{topic}/{event_id:[^/]+}", self.event, expect_handler=send_continue),
        ]

    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /events: a page of the log, held if it is to be; or the one event asked for.

        As NDJSON, all that is asked for; as an event stream, what comes from then on, too.
        """
        response = await self._events(request)
        response.headers[hdrs.VARY] = "Accept, Accept-Encoding"
        return response

    async def _events(self, request: web.Request) -> web.StreamResponse:
        media_type = preferred_media_type(request.headers.getall(hdrs.ACCEPT, ()))
        if media_type == EVENT_STREAM:
            return await self._live_streams.blocks(request)
        lines = media_type == NDJSON
        if lines and wants_to_follow(request.rel_url.raw_query_string):
            return await self._live_streams.lines(request)
        wanted = parse_query(request.rel_url.raw_query_string, time.time_ns() // 1000, lines=lines)
        query = wanted.query
        if query.topic is None:
            check_all_readable(entry_of(request))
        else:
            check_readable(entry_of(request), query.topic)
        if lines and wanted.event_id is None:
            return await stream_lines(
                EventStream(self._store, query, self._streams, self._read_memory)
            )
        if query.topic is not None and wanted.event_id is not None:
            return await self._read(
                request,
                event_memory_bytes,
                partial(self._head_and_event, query.topic, wanted.event_id),
                partial(_one_event_response, lines=lines),
            )
        respond = partial(_page_response, wanted)
        if (seconds := wait_s(request, wanted)) is not None:
            return await self._held_pages.response(request, wanted, seconds, respond)
        return await self._read(
            request,
            partial(page_memory_bytes, query.limit, query.max_bytes),
            lambda size: self._store.read(replace(query, max_payload_bytes=size), encode_objects),
            lambda page: respond(replace(page, parts=events_answer(page))),
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
            check_all_readable(entry_of(request))
            return answer(None)
        check_readable(entry_of(request), topic)
        return await self._read(
            request,
            event_memory_bytes,
            lambda size: self._store.get(topic, event_id, max_payload_bytes=size),
            answer,
        )

    async def _head_and_event(
        self, topic: str, event_id: str, max_payload_bytes: int
    ) -> tuple[int, EventColumns | None]:
        """Read the head of a topic, then an event; up to the head no other one has its id."""
        head = (await self._store.heads([topic]))[topic]
        found = await self._store.get(topic, event_id, max_payload_bytes=max_payload_bytes)
        return max(head, *found.offsets) if found else head, found

    async def _read(
        self,
        request: web.Request,
        memory_bytes: Callable[[int], int],
        read: Callable[[int], Awaitable[_Read]],
        respond: Callable[[_Read], ReadResponse],
    ) -> ReadResponse:
        """Read, and compress within the memory of the read: its turn is over when it is small."""

        async def convert(found: _Read) -> ReadResponse:
            response = respond(found)
            await self._compression.encode(request, response)
            return response

        with self._reads:
            return await read_bounded(self._read_memory, memory_bytes, read, convert)


def _page_response(wanted: ReadRequest, page: Page[bytes]) -> ReadResponse:
    headers = {} if page.next is None else link_header(wanted.next_target(page.next))
    if page.head is not None:
        headers |= log_headers(page.head)
    return ReadResponse(page.parts, headers)


def _one_event_response(found: tuple[int, EventColumns | None], *, lines: bool) -> ReadResponse:
    head, event = found
    if lines:
        return one_line(event, log_headers(head))
    content = b"[]" if event is None else b"[%b]" % encode_objects(event)
    return ReadResponse([content], log_headers(head))
