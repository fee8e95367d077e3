"""Streams that follow the log: `Accept: text/event-stream`, and NDJSON with `follow`."""

import time

from aiohttp import web

from aggregator.access.authority import Identity
from aggregator.access.checks import readable_part
from aggregator.access.errors import OverLimit
from aggregator.access.gate import EVERYBODY
from aggregator.access.limits import Usage
from aggregator.http.live_response import LiveResponse, UnavailableStream
from aggregator.http.log_headers import log_headers
from aggregator.http.revocation import Revocation
from aggregator.http.rights import IDENTITY
from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.live.follower import Follower
from aggregator.live.followers import Followers
from aggregator.live.log_chunks import Form
from aggregator.wire.stream_query import StreamRequest, parse_stream_query
from storage.errors import StorageError

_LAST_EVENT_ID = "Last-Event-ID"


class LiveStreams:
    """Answers requests that follow the log.

    Args:
        followers: opens the streams.
        revocation: ends those whose readers may not read them any more.
        usage: counts those that each entry has open.
    """

    def __init__(self, followers: Followers, revocation: Revocation, usage: Usage) -> None:
        self._followers = followers
        self._revocation = revocation
        self._usage = usage
        self._openers: dict[Follower, str] = {}

    async def blocks(self, request: web.Request) -> web.StreamResponse:
        """Return an event stream; one that can't be served now says so and ends.

        Raises:
            InvalidRequest: what is asked for will never work.
        """
        wanted = parse_stream_query(
            request.rel_url.raw_query_string,
            time.time_ns() // 1000,
            request.headers.getall(_LAST_EVENT_ID, ()),
        )
        try:
            return await self._open(request, wanted, Form.BLOCKS)
        except (QueueFull, ShuttingDown, StorageError, OverLimit) as error:
            answer = UnavailableStream(str(error))
            if isinstance(error, ShuttingDown):
                # Who comes back had better come to another aggregator.
                answer.force_close()
            return answer

    async def lines(self, request: web.Request) -> web.StreamResponse:
        """Return NDJSON that goes on as events come.

        Raises:
            InvalidRequest: what is asked for will never work.
            QueueFull, ShuttingDown, StorageError, OverLimit: it can't be served now.
        """
        query = request.rel_url.raw_query_string
        wanted = parse_stream_query(query, time.time_ns() // 1000, lines=True)
        return await self._open(request, wanted, Form.LINES)

    async def _open(self, request: web.Request, wanted: StreamRequest, form: Form) -> LiveResponse:
        identity = request[IDENTITY]
        topics = readable_part(identity.entry, wanted.topics)
        follower = await self._opened(wanted._replace(topics=topics), form, identity)
        headers = {} if follower.head is None else log_headers(follower.head)
        self._revocation.watch(follower, identity)
        return LiveResponse(follower, self._close, headers)

    async def _opened(self, wanted: StreamRequest, form: Form, identity: Identity) -> Follower:
        if identity is EVERYBODY:
            return await self._followers.open(wanted, form)
        self._usage.open_stream(identity.name, identity.entry.limits)
        try:
            follower = await self._followers.open(wanted, form)
        except BaseException:
            self._usage.close_stream(identity.name)
            raise
        self._openers[follower] = identity.name
        return follower

    def _close(self, follower: Follower) -> None:
        if (name := self._openers.pop(follower, None)) is not None:
            self._usage.close_stream(name)
        self._revocation.forget(follower)
        self._followers.close(follower)
