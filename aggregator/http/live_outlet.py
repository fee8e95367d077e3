"""The connection of a stream, as its follower writes to it."""

import asyncio
from collections.abc import Callable

from aiohttp import HttpVersion11, web

from aggregator.http.connection import Connection
from aggregator.http.cut_off import end_without_last_chunk
from aggregator.http.live_response import LiveResponse
from aggregator.http.pending_responses import PendingResponses
from aggregator.live.ends import SLOW
from aggregator.request_context import RequestContext

_COPIED_BYTES = 16 * 1024
"""What is smaller is copied into one piece with what goes around it."""


class LiveOutlet:
    """Writes a stream to its connection, past the writer of aiohttp; an `Outlet`.

    Each write costs a few microseconds so, and needs no task.

    Args:
        request: that is answered; the head of the answer is sent.
        answer: the answer.
        transport: of the connection.
        context: of the request, for the log line of an answer that is aborted.
        pending: bounds what its reader has not taken.
    """

    __slots__ = (
        "_answer",
        "_chunked",
        "_connection",
        "_context",
        "_pending",
        "_request",
        "_transport",
    )

    def __init__(
        self,
        request: web.Request,
        answer: LiveResponse,
        transport: asyncio.Transport,
        context: RequestContext,
        pending: PendingResponses,
    ) -> None:
        self._request = request
        self._answer = answer
        self._transport = transport
        self._context = context
        self._pending = pending
        self._chunked = request.version >= HttpVersion11
        connection = request.protocol
        self._connection = connection if isinstance(connection, Connection) else None
        if self._connection is not None:
            self._connection.on_gone = self._client_gone
            if self._connection.gone:
                self._client_gone()

    def close(self) -> None:
        """Tell the follower of its client no more."""
        if self._connection is not None:
            self._connection.on_gone = None

    def write(self, data: bytes) -> bool:
        """See `Outlet.write`."""
        transport = self._transport
        if transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._answer.sent_bytes += len(data)
        if not self._chunked:
            transport.write(data)
        elif len(data) < _COPIED_BYTES:
            transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))
        return not transport.get_write_buffer_size()

    async def drained(self, held: int, drop: Callable[[], object]) -> None:
        """See `Outlet.drained`."""

        def drop_held() -> None:
            drop()
            self._pending.resize(pending, self._transport.get_write_buffer_size())

        pending = self._pending.begin(
            self._transport,
            self._context,
            held + self._transport.get_write_buffer_size(),
            lambda: self._answer.sent_bytes,
            drop=drop_held,
            end=self._cut_off,
        )
        try:
            await self._request.writer.drain()
        finally:
            self._pending.release(pending)

    def _cut_off(self) -> None:
        self._answer.follower.stop(SLOW)
        end_without_last_chunk(self._request, self._transport)

    def _client_gone(self) -> None:
        # It may have ended its side alone.
        self._answer.follower.client_gone(half=not self._transport.is_closing())
