"""Streams that follow the log: `Accept: text/event-stream`, and NDJSON with `follow`."""

import time

from aiohttp import web

from aggregator.http.live_response import LiveResponse, UnavailableStream
from aggregator.http.log_headers import log_headers
from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.live.followers import Followers
from aggregator.live.log_chunks import Form
from aggregator.wire.stream_query import StreamRequest, parse_stream_query
from storage.errors import StorageError

_LAST_EVENT_ID = "Last-Event-ID"


class LiveStreams:
    """Answers requests that follow the log.

    Args:
        followers: opens the streams.
    """

    def __init__(self, followers: Followers) -> None:
        self._followers = followers

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
            return await self._open(wanted, Form.BLOCKS)
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
        return await self._open(wanted, Form.LINES)

    async def _open(self, wanted: StreamRequest, form: Form) -> LiveResponse:
        follower = await self._followers.open(wanted, form)
        headers = {} if follower.head is None else log_headers(follower.head)
        return LiveResponse(follower, self._followers, headers)
