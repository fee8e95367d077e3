"""The response sender: bounds the bytes and the time of responses, whatever their readers do.

Until its reader has taken it, a response is held in memory, and a reader may take its time or never
read at all. That must cost neither memory without bound nor anybody else's response: past a bound
the response of the slowest reader is aborted, with its connection.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiohttp import web

from aggregator.request_context import RequestContext

_PIECE_BYTES = 64 * 1024
"""What the transport gets at a time; it may copy what it is given."""

_log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class PendingResponse:
    """A response that its reader has not taken yet."""

    context: RequestContext
    transport: asyncio.Transport
    size: int
    written: Callable[[], int]
    """Returns the bytes that the transport was given."""
    started: float

    def sent(self) -> int:
        """Return the bytes that the kernel has taken."""
        return max(self.written() - self.transport.get_write_buffer_size(), 0)


class ResponseSender:
    """Sends responses, and bounds those on their way.

    Args:
        max_bytes: bytes held in all; a response that is larger goes alone.
        timeout_s: how long a reader may take for one response, in seconds.
    """

    def __init__(self, *, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        # In the order in which they began.
        self._pending: dict[PendingResponse, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.bytes = 0

    async def send(
        self, request: web.Request, context: RequestContext, answer: web.Response
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; returns when the kernel has all of it, or the connection is gone.

        Args:
            request: that it answers.
            context: of the request, for the log line of a response that is aborted.
            answer: the response.

        Returns:
            The response as it was sent, for aiohttp to end the request with, and whether all of it
            was.
        """
        transport = request.transport
        if transport is None or transport.is_closing():
            return answer, False
        # Nothing may stay behind in the transport: written means that the kernel has it.
        transport.set_write_buffer_limits(high=0)
        body = answer.body
        size = len(body) if isinstance(body, bytes) else 0
        pending = self._begin(transport, context, size, lambda: request.writer.output_size)
        try:
            if isinstance(body, bytes) and size > _PIECE_BYTES and request.method != "HEAD":
                return await _send_in_pieces(request, answer, body), True
            await answer.prepare(request)
            await answer.write_eof()
        except ConnectionError:
            # Nobody is left to tell; aiohttp finds the connection closed as well.
            return answer, False
        finally:
            self.release(pending)
        return answer, True

    def hold(
        self, transport: asyncio.Transport, context: RequestContext, size: int
    ) -> PendingResponse:
        """Count a response that a transport was given, and of which it still holds a part.

        Args:
            transport: of its connection.
            context: of its request.
            size: bytes of the whole response.

        Returns:
            What to give to `release` when the transport holds nothing again, or the connection is
            gone.
        """
        return self._begin(transport, context, size, lambda: size)

    def release(self, pending: PendingResponse) -> None:
        """Count a response no longer: its reader has taken it, or never will."""
        if pending in self._pending:
            del self._pending[pending]
            self.bytes -= pending.size

    def _begin(
        self,
        transport: asyncio.Transport,
        context: RequestContext,
        size: int,
        written: Callable[[], int],
    ) -> PendingResponse:
        if self._pending and self.bytes + size > self._max_bytes:
            self._make_room(size)
        loop = asyncio.get_running_loop()
        pending = PendingResponse(context, transport, size, written, loop.time())
        self._pending[pending] = None
        self.bytes += size
        if self._timer is None:
            self._timer = loop.call_later(self._timeout_s, self._expire)
        return pending

    def _make_room(self, size: int) -> None:
        now = asyncio.get_running_loop().time()
        # One that has just begun had no time to be slow, and is fast by this measure.
        slowest_first = sorted(
            self._pending, key=lambda pending: pending.sent() / (now - pending.started + 1e-6)
        )
        for pending in slowest_first:
            if self.bytes + size <= self._max_bytes:
                return
            self._abort(pending, "others need the room")

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for pending in list(self._pending):
            left_s = pending.started + self._timeout_s - loop.time()
            if left_s > 0:
                self._timer = loop.call_later(left_s, self._expire)
                return
            self._abort(pending, f"not taken within {self._timeout_s:g} seconds")

    def _abort(self, pending: PendingResponse, reason: str) -> None:
        _log.warning(
            "response_aborted",
            formerly="answer_cut_off",
            reason=reason,
            bytes=pending.size,
            sent=pending.sent(),
            **pending.context.log_fields,
        )
        self.release(pending)
        pending.transport.abort()


async def _send_in_pieces(
    request: web.Request, answer: web.Response, body: bytes
) -> web.StreamResponse:
    pieces = web.StreamResponse(status=answer.status, headers=answer.headers)
    pieces.content_length = len(body)
    await pieces.prepare(request)
    view = memoryview(body)
    for start in range(0, len(body), _PIECE_BYTES):
        await pieces.write(view[start : start + _PIECE_BYTES])
    await pieces.write_eof()
    return pieces
