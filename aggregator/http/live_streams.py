"""Streams that follow the log: `Accept: text/event-stream`, and NDJSON with `follow`."""

import time

from aiohttp import web

from aggregator.access.checks import readable_part
from aggregator.http.live_response import LiveResponse, UnavailableStream
from aggregator.http.log_headers import log_headers
from aggregator.http.revocation import Revocation
from aggregator.http.rights import IDENTITY, entry_of
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
    """

    def __init__(self, followers: Followers, revocation: Revocation) -> None:
        self._followers = followers
        self._revocation = revocation

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
        except (QueueFull, ShuttingDown, StorageError) as error:
            answer = UnavailableStream(str(error))
            if isinstance(error, ShuttingDown):
                # Who comes back had better come to another aggregator.
                answer.force_close()
            return answer

    async def lines(self, request: web.Request) -> web.StreamResponse:
        """Return NDJSON that goes on as events come.

        Raises:
            InvalidRequest: what is asked for will never work.
            QueueFull, ShuttingDown, StorageError: it can't be served now.
        """
        query = request.rel_url.raw_query_string
        wanted = parse_stream_query(query, time.time_ns() // 1000, lines=True)
        return await self._open(request, wanted, Form.LINES)

    async def _open(self, request: web.Request, wanted: StreamRequest, form: Form) -> LiveResponse:
        topics = readable_part(entry_of(request), wanted.topics)
        follower = await self._followers.open(wanted._replace(topics=topics), form)
        headers = {} if follower.head is None else log_headers(follower.head)
        self._revocation.watch(follower, request[IDENTITY])
        return LiveResponse(follower, self._close, headers)

    def _close(self, follower: Follower) -> None:
        self._revocation.forget(follower)
        self._followers.close(follower)
