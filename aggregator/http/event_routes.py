"""The routes that read events: pages of the log, and single events."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from aiohttp import web

from aggregator.http.held_pages import HeldPages, wait_s
from aggregator.http.json_responses import json_response, link_header
from aggregator.http.middleware import send_continue
from aggregator.http.problem_details import NoSuchEvent
from aggregator.reading.bounded_read import read_array, read_bounded
from aggregator.reading.read_limit import ReadLimit
from aggregator.reading.read_memory import ReadMemory
from aggregator.wire.event_encoding import encode_objects
from aggregator.wire.event_query import LOG_START, ReadRequest, parse_query
from aggregator.wire.event_rules import name_rule_broken, topic_rule_broken
from storage.model import EventColumns, Page
from storage.protocols import EventReader
from storage.reading.page_fetch import event_memory_bytes

_Read = TypeVar("_Read")


class EventRoutes:
    """The handlers of `/events`, over the parts they are given.

    Args:
        store: what is read.
        reads: the number of reads at once.
        read_memory: the memory of reads.
        held_pages: answers reads that wait.
    """

    def __init__(
        self,
        *,
        store: EventReader,
        reads: ReadLimit,
        read_memory: ReadMemory,
        held_pages: HeldPages,
    ) -> None:
        self._store = store
        self._reads = reads
        self._read_memory = read_memory
        self._held_pages = held_pages

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the contract that read events."""
        return [
            web.get("/events", self.events, expect_handler=send_continue),
            # Not the default pattern, which no id with a brace in it would match.
            web.get("/events/{topic}/{event_id:[^/]+}", self.event, expect_handler=send_continue),
        ]

    async def events(self, request: web.Request) -> web.Response:
        """GET /events: a page of the log, held if it is to be; or the one event asked for."""
        wanted = parse_query(request.rel_url.raw_query_string, time.time_ns() // 1000)
        query = wanted.query
        if query.topic is not None and wanted.event_id is not None:
            return await self._read(
                event_memory_bytes,
                partial(self._head_and_event, query.topic, wanted.event_id),
                _one_event_response,
            )
        respond = partial(_page_response, wanted)
        if (seconds := wait_s(request, wanted)) is not None:
            return await self._held_pages.response(request, wanted, seconds, respond)
        with self._reads:
            return respond(await read_array(self._store, self._read_memory, query))

    async def event(self, request: web.Request) -> web.Response:
        """GET /events/{topic}/{event_id}: one event, or 404."""
        topic, event_id = request.match_info["topic"], request.match_info["event_id"]

        def answer(found: EventColumns | None) -> web.Response:
            if found is None:
                raise NoSuchEvent(f"topic {topic!r} has no event {event_id!r}")
            return json_response(encode_objects(found))

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

    async def _head_and_event(
        self, topic: str, event_id: str, max_payload_bytes: int
    ) -> tuple[int, EventColumns | None]:
        """Read the head of a topic, then an event; up to the head no other one has its id."""
        head = (await self._store.heads([topic]))[topic]
        found = await self._store.get(topic, event_id, max_payload_bytes=max_payload_bytes)
        return max(head, *found.offsets) if found else head, found

    async def _read(
        self,
        memory_bytes: Callable[[int], int],
        read: Callable[[int], Awaitable[_Read]],
        respond: Callable[[_Read], web.Response],
    ) -> web.Response:
        with self._reads:
            return await read_bounded(self._read_memory, memory_bytes, read, respond)


def _page_response(wanted: ReadRequest, page: Page[bytes]) -> web.Response:
    headers = {} if page.next is None else link_header(wanted.next_target(page.next))
    if page.head is not None:
        headers |= _log_headers(page.head)
    return json_response(page.parts[0], headers)


def _one_event_response(found: tuple[int, EventColumns | None]) -> web.Response:
    head, event = found
    content = b"[]" if event is None else b"[%b]" % encode_objects(event)
    return json_response(content, _log_headers(head))


def _log_headers(head: int) -> dict[str, str]:
    return {"Log-Head": str(head), "Log-Start": str(LOG_START)}
