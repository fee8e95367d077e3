"""The response sender: bounds the bytes and the time of responses, whatever their readers do.

Until its reader has taken it, a response is held in memory, and a reader may take its time or never
read at all. That must cost neither memory without bound nor anybody else's response: past a bound
the response of the slowest reader is aborted, with its connection.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiohttp import HttpVersion11, web

from aggregator.http.ndjson import StreamedResponse
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
    """Bytes of it that are held here."""
    written: Callable[[], int]
    """Returns the bytes that the transport was given."""
    started: float
    drop: Callable[[], object] | None = None
    """Drops what a streamed response can read again; None for any other one."""
    since: float = 0.0
    """When its time to be taken began: a streamed response has it anew whenever some is taken."""
    sent_before: int = 0
    """Bytes that the kernel had taken when that was looked at last."""

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
        self, request: web.Request, context: RequestContext, answer: web.StreamResponse
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; returns when the kernel has all of it, or the connection is gone.

        Args:
            request: that it answers.
            context: of the request, for the log line of a response that is aborted.
            answer: the response, not prepared.

        Returns:
            The response as it was sent, for aiohttp to end the request with, and whether all of it
            was.
        """
        try:
            transport = request.transport
            if transport is None or transport.is_closing():
                return answer, False
            # Nothing may stay behind in the transport: written means that the kernel has it.
            transport.set_write_buffer_limits(high=0)
            if isinstance(answer, StreamedResponse):
                return answer, await self._send_stream(request, transport, context, answer)
            return await self._send_whole(request, transport, context, answer)
        finally:
            if isinstance(answer, StreamedResponse):
                answer.stream.close()

    async def _send_whole(
        self,
        request: web.Request,
        transport: asyncio.Transport,
        context: RequestContext,
        answer: web.StreamResponse,
    ) -> tuple[web.StreamResponse, bool]:
        body = answer.body if isinstance(answer, web.Response) else None
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

    async def _send_stream(
        self,
        request: web.Request,
        transport: asyncio.Transport,
        context: RequestContext,
        answer: StreamedResponse,
    ) -> bool:
        stream = answer.stream
        pending = self._begin(
            transport, context, 0, lambda: request.writer.output_size, drop=stream.drop
        )
        stream.on_held = lambda held: self._resize(pending, held)
        self._resize(pending, stream.held)
        loop = asyncio.get_running_loop()
        try:
            await answer.prepare(request)
            if request.method != "HEAD":
                while (piece := await stream.piece()) is not None:
                    await answer.write(piece)
                    self._renew(pending, loop.time())
            await answer.write_eof()
        except ConnectionError:
            return False
        except Exception as error:  # noqa: BLE001 - no other way is left to say that it is not all
            _log.warning("stream_failed", reason=str(error) or repr(error), **context.log_fields)
            end_without_last_chunk(request, transport)
            return False
        finally:
            answer.sent_bytes = pending.sent()
            self.release(pending)
        return True

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
        *,
        drop: Callable[[], object] | None = None,
    ) -> PendingResponse:
        if self._pending and self.bytes + size > self._max_bytes:
            self._make_room(size)
        loop = asyncio.get_running_loop()
        now = loop.time()
        pending = PendingResponse(context, transport, size, written, now, drop, now)
        self._pending[pending] = None
        self.bytes += size
        if self._timer is None:
            self._timer = loop.call_later(self._timeout_s, self._expire)
        return pending

    def _resize(self, pending: PendingResponse, size: int) -> None:
        """Count a streamed response with the bytes that it holds now."""
        if pending not in self._pending:
            return
        self.bytes += size - pending.size
        grown, pending.size = size > pending.size, size
        if grown and self.bytes > self._max_bytes and len(self._pending) > 1:
            self._make_room(0, pending)

    def _renew(self, pending: PendingResponse, now: float) -> None:
        """Give a streamed response its time anew, and its place behind the others."""
        if pending in self._pending:
            pending.since = now
            del self._pending[pending]
            self._pending[pending] = None

    def _make_room(self, size: int, spared: PendingResponse | None = None) -> None:
        now = asyncio.get_running_loop().time()
        # One that has just begun had no time to be slow, and is fast by this measure.
        slowest_first = sorted(
            (pending for pending in self._pending if pending is not spared),
            key=lambda pending: pending.sent() / (now - pending.started + 1e-6),
        )
        for pending in slowest_first:
            if self.bytes + size <= self._max_bytes:
                return
            if pending.drop is not None:
                pending.drop()
        for pending in slowest_first:
            if self.bytes + size <= self._max_bytes:
                return
            self._abort(pending, "others need the room")

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for pending in list(self._pending):
            now = loop.time()
            left_s = pending.since + self._timeout_s - now
            if left_s > 0:
                self._timer = loop.call_later(left_s, self._expire)
                return
            if pending.drop is not None and self._was_taken(pending):
                self._renew(pending, now)
                continue
            self._abort(pending, f"not taken within {self._timeout_s:g} seconds")
        if self._pending:
            self._timer = loop.call_later(self._timeout_s, self._expire)

    def _was_taken(self, pending: PendingResponse) -> bool:
        """Return whether some was taken of a streamed response, or there was nothing to take."""
        before, pending.sent_before = pending.sent_before, pending.sent()
        return pending.sent_before > before or not pending.transport.get_write_buffer_size()

    def _abort(self, pending: PendingResponse, reason: str) -> None:
        _log.warning(
            "response_aborted",
            formerly="answer_cut_off",
            reason=reason,
            bytes=pending.size if pending.drop is None else pending.written(),
            sent=pending.sent(),
            **pending.context.log_fields,
        )
        self.release(pending)
        pending.transport.abort()


def end_without_last_chunk(request: web.Request, transport: asyncio.Transport) -> None:
    """End the connection of a response in the middle, so that its reader sees that it is not all.

    What the kernel has is still sent, and then the last chunk is missing. With HTTP/1.0 the end of
    the connection would be that of the answer, so it is reset.
    """
    socket_ = transport.get_extra_info("socket")
    if request.version < HttpVersion11 and socket_ is not None:
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _send_in_pieces(
    request: web.Request, answer: web.StreamResponse, body: bytes
) -> web.StreamResponse:
    pieces = web.StreamResponse(status=answer.status, headers=answer.headers)
    pieces.content_length = len(body)
    await pieces.prepare(request)
    view = memoryview(body)
    for start in range(0, len(body), _PIECE_BYTES):
        await pieces.write(view[start : start + _PIECE_BYTES])
    await pieces.write_eof()
    return pieces
