"""The response sender: sends responses piece by piece, and lets go of each piece that was taken."""

import asyncio
from functools import partial

import structlog
from aiohttp import HttpVersion11, hdrs, web

from aggregator.http.compression import Compression, coding_of
from aggregator.http.cut_off import end_without_last_chunk
from aggregator.http.live_outlet import LiveOutlet
from aggregator.http.live_response import LiveResponse
from aggregator.http.ndjson import StreamedResponse
from aggregator.http.pending_responses import PendingResponse, PendingResponses
from aggregator.http.read_response import ReadResponse
from aggregator.http.unsent_bytes import bound_unsent_bytes
from aggregator.live.ends import CLIENT, StreamCut
from aggregator.request_context import RequestContext
from storage.errors import StorageError

_PIECE_BYTES = 512 * 1024
"""What the transport gets at a time; it may copy what it is given."""

_log = structlog.get_logger()


class ResponseSender:
    """Sends responses, and counts them as pending until they are taken.

    Args:
        pending: bounds them.
        compression: compresses answers to reads for clients that accept it.
    """

    def __init__(self, pending: PendingResponses, compression: Compression) -> None:
        self._pending = pending
        self._compression = compression

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
        complete = False
        try:
            transport = request.transport
            if transport is None or transport.is_closing():
                return answer, False
            # Nothing may stay behind in the transport: written means that the kernel has it.
            transport.set_write_buffer_limits(high=0)
            if isinstance(answer, LiveResponse):
                bound_unsent_bytes(transport)
                return answer, await self._send_live(request, transport, context, answer)
            if isinstance(answer, ReadResponse):
                await self._compression.encode(request, answer)
            complete = await self._send(request, transport, context, answer)
            return answer, complete
        finally:
            if isinstance(answer, StreamedResponse):
                answer.stream.close()
            elif isinstance(answer, LiveResponse):
                answer.close()
            elif isinstance(answer, ReadResponse) and answer.on_sent is not None:
                # The last of it may have waited in a connection that was lost then.
                answer.on_sent(complete and _connected(request))

    async def _send(
        self,
        request: web.Request,
        transport: asyncio.Transport,
        context: RequestContext,
        answer: web.StreamResponse,
    ) -> bool:
        drop = end = None
        if isinstance(answer, StreamedResponse):
            drop = answer.stream.drop
            end = partial(end_without_last_chunk, request, transport)
            if request.version < HttpVersion11:
                # Its end is that of the connection, whatever the client asks for.
                answer.force_close()
        pending = self._pending.begin(
            transport,
            context,
            _held(answer),
            lambda: request.writer.output_size,
            drop=drop,
            end=end,
        )
        try:
            if isinstance(answer, StreamedResponse):
                await self._send_stream(request, pending, answer)
            elif isinstance(answer, ReadResponse):
                await _send_parts(request, answer)
            else:
                await answer.prepare(request)
            await answer.write_eof()
            # What is small, aiohttp leaves with the transport.
            await request.writer.drain()
        except ConnectionError:
            # Nobody is left to tell; aiohttp finds the connection closed as well.
            return False
        except Exception as error:
            if not isinstance(answer, StreamedResponse):
                raise
            _fail(request, transport, context, error)
            return False
        finally:
            if isinstance(answer, StreamedResponse):
                answer.sent_bytes = pending.sent()
            self._pending.release(pending)
        return True

    async def _send_live(
        self,
        request: web.Request,
        transport: asyncio.Transport,
        context: RequestContext,
        answer: LiveResponse,
    ) -> bool:
        follower = answer.follower
        if request.version < HttpVersion11:
            answer.force_close()
        outlet = LiveOutlet(request, answer, transport, context, self._pending)
        try:
            await answer.prepare(request)
            # They are sent, and ten thousand idle streams need not keep them.
            answer.headers.clear()
            if request.method != hdrs.METH_HEAD:
                await follower.run(outlet)
            await answer.write_eof()
        except ConnectionError:
            follower.stop(CLIENT)
            return False
        except Exception as error:  # noqa: BLE001 - an answer that has begun has no other end
            _fail(request, transport, context, error)
            return False
        finally:
            outlet.close()
        return True

    async def _send_stream(
        self, request: web.Request, pending: PendingResponse, answer: StreamedResponse
    ) -> None:
        stream = answer.stream
        stream.on_held = lambda held: self._pending.resize(pending, held)
        with self._compression.stream(coding_of(request, stream.held)) as compression:
            if compression is not None:
                answer.headers[hdrs.CONTENT_ENCODING] = compression.coding
            await answer.prepare(request)
            if request.method == hdrs.METH_HEAD:
                return
            while (piece := await stream.piece()) is not None:
                await answer.write(
                    piece if compression is None else await compression.compress(piece)
                )
            if compression is not None:
                await answer.write(compression.finish())


def _connected(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


def _fail(
    request: web.Request, transport: asyncio.Transport, context: RequestContext, error: Exception
) -> None:
    """End an answer that has begun: no other way is left to say that it is not all."""
    _log.warning(
        "stream_failed",
        reason=str(error) or repr(error),
        exc_info=None if isinstance(error, (StorageError, StreamCut)) else error,
        **context.log_fields,
    )
    end_without_last_chunk(request, transport)


def _held(answer: web.StreamResponse) -> int:
    """Return the bytes that are held of an answer."""
    if isinstance(answer, StreamedResponse):
        return answer.stream.held
    if isinstance(answer, ReadResponse):
        return answer.size
    body = answer.body if isinstance(answer, web.Response) else None
    return len(body) if isinstance(body, bytes) else 0


async def _send_parts(request: web.Request, answer: ReadResponse) -> None:
    await answer.prepare(request)
    if request.method != hdrs.METH_HEAD:
        parts = answer.parts
        while parts:
            await _write(answer, parts.popleft())


async def _write(answer: web.StreamResponse, part: bytes) -> None:
    if len(part) <= _PIECE_BYTES:
        await answer.write(part)
        return
    view = memoryview(part)
    for start in range(0, len(part), _PIECE_BYTES):
        await answer.write(view[start : start + _PIECE_BYTES])
