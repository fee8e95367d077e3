"""Sending answers: bounded in bytes and in time, whatever their readers do.

Until its reader has taken it, an answer is held in memory, and a reader may take its time or
never read at all. Those who don't must cost neither memory without bound nor anybody else's
answer: past a bound the answer of the slowest reader is cut off, with its connection.
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
    """An answer that its reader has not taken yet."""

    context: RequestContext
    transport: asyncio.Transport
    size: int
    written: Callable[[], int]
    """Bytes that the transport was given."""
    started: float

    def sent(self) -> int:
        return max(self.written() - self.transport.get_write_buffer_size(), 0)


class ResponseSender:
    """The answers on their way to their readers.

    Args:
        max_bytes: so many may be held in all; an answer that is larger goes alone.
        timeout_s: how long a reader may take for one answer, in seconds.
    """

    def __init__(self, *, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        # In the order in which they began.
        self._unsent: dict[PendingResponse, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.bytes = 0

    async def send(
        self, request: web.Request, context: RequestContext, answer: web.Response
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; returns when the kernel has all of it, or the connection is gone.

        Returns the answer as it was sent, for aiohttp to end the request with, and whether all of
        it was.

        Args:
            asked: for the log, if it has to be cut off.
        """
        transport = request.transport
        if transport is None or transport.is_closing():
            return answer, False
        # Nothing may stay behind in the transport: written means that the kernel has it.
        transport.set_write_buffer_limits(high=0)
        body = answer.body
        size = len(body) if isinstance(body, bytes) else 0
        unsent = self._begin(transport, context, size, lambda: request.writer.output_size)
        try:
            if isinstance(body, bytes) and size > _PIECE_BYTES and request.method != "HEAD":
                return await _send_in_pieces(request, answer, body), True
            await answer.prepare(request)
            await answer.write_eof()
        except ConnectionError:
            # Nobody is left to tell; aiohttp finds the connection closed as well.
            return answer, False
        finally:
            self.sent(unsent)
        return answer, True

    def hold(
        self, transport: asyncio.Transport, context: RequestContext, size: int
    ) -> PendingResponse:
        """Count an answer that a transport was given, and of which it still holds a part.

        What comes back is to be given to `sent` when the transport holds nothing again, or the
        connection is gone.

        Args:
            size: bytes of the whole answer.
        """
        return self._begin(transport, context, size, lambda: size)

    def sent(self, unsent: PendingResponse) -> None:
        """Its reader has taken it, or never will."""
        if unsent in self._unsent:
            del self._unsent[unsent]
            self.bytes -= unsent.size

    def _begin(
        self,
        transport: asyncio.Transport,
        context: RequestContext,
        size: int,
        written: Callable[[], int],
    ) -> PendingResponse:
        if self._unsent and self.bytes + size > self._max_bytes:
            self._make_room(size)
        loop = asyncio.get_running_loop()
        unsent = PendingResponse(context, transport, size, written, loop.time())
        self._unsent[unsent] = None
        self.bytes += size
        if self._timer is None:
            self._timer = loop.call_later(self._timeout_s, self._expire)
        return unsent

    def _make_room(self, size: int) -> None:
        now = asyncio.get_running_loop().time()
        # Who has just begun had no time to be slow, and is fast by this measure.
        slowest_first = sorted(
            self._unsent, key=lambda unsent: unsent.sent() / (now - unsent.started + 1e-6)
        )
        for unsent in slowest_first:
            if self.bytes + size <= self._max_bytes:
                return
            self._cut_off(unsent, "others need the room")

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for unsent in list(self._unsent):
            left_s = unsent.started + self._timeout_s - loop.time()
            if left_s > 0:
                self._timer = loop.call_later(left_s, self._expire)
                return
            self._cut_off(unsent, f"not taken within {self._timeout_s:g} seconds")

    def _cut_off(self, unsent: PendingResponse, reason: str) -> None:
        _log.warning(
            "answer_cut_off",
            reason=reason,
            bytes=unsent.size,
            sent=unsent.sent(),
            **unsent.context.names,
        )
        self.sent(unsent)
        unsent.transport.abort()


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
