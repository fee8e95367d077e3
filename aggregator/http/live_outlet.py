"""The connection of a stream, as its follower writes to it."""

import asyncio
from collections.abc import Callable

from aiohttp import HttpVersion11, web

from aggregator.http.connection import Connection
from aggregator.http.live_response import LiveResponse
from aggregator.http.pending_responses import PendingResponses
from aggregator.live.follower import Follower
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
        end: ends the connection in the middle of the answer.
    """

    __slots__ = ("_answer", "_chunked", "_context", "_end", "_pending", "_request", "_transport")

    def __init__(
        self,
        request: web.Request,
        answer: LiveResponse,
        transport: asyncio.Transport,
        context: RequestContext,
        pending: PendingResponses,
        end: Callable[[], object],
    ) -> None:
        self._request = request
        self._answer = answer
        self._transport = transport
        self._context = context
        self._pending = pending
        self._end = end
        self._chunked = request.version >= HttpVersion11

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
            end=self._end,
        )
        try:
            await self._request.writer.drain()
        finally:
            self._pending.release(pending)


def told_of_client(request: web.Request, follower: Follower) -> Callable[[], None]:
    """Tell a follower when its client is gone; returns what ends that."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        return lambda: None

    def gone() -> None:
        transport = connection.transport
        follower.client_gone(half=transport is not None and not transport.is_closing())

    connection.on_gone = gone
    if connection.gone:
        gone()

    def end() -> None:
        connection.on_gone = None

    return end
