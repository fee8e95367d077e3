"""Connections with the fast path: all that rests on parts of aiohttp that are not public.

`obstacle` checks at the start whether what is used here is there and works as it did. With another
aiohttp, publishes go the normal way.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, cast

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader

from aggregator.http.connection import MAX_HEAD_BYTES, Connection, ConnectionObserver
from aggregator.http.fast_path import FastPath
from aggregator.http.pending_responses import PendingResponse, PendingResponses
from aggregator.request_context import RequestContext

_SAMPLE_BODY = b"[{}]"
_SAMPLE = (
    b"POST /publish HTTP/1.1\r\nHost: x\r\nX-Request-ID: r\r\nContent-Length: 4\r\n\r\n"
    + _SAMPLE_BODY
)

_SAMPLES = 100
"""More than aiohttp's parser lets wait for their answers."""

Message = tuple[RawRequestMessage, StreamReader]
"""The head of a request, and its body as far as it has come in."""


class FastConnection(Connection):
    """A connection whose plain publishes take the fast path, and that knows what it owes.

    Args:
        connections: observer of connections.
        server: aiohttp's side of it.
        fast_path: answers publishes before they become requests.
        pending: the bound on answers that are on their way.
        options: see `aiohttp.web.RequestHandler`.
    """

    __slots__ = (
        "_answered",
        "_closing",
        "_fast_path",
        "_handled_fast",
        "_held",
        "_parsed",
        "_pending",
        "_pending_response",
        "_under_way",
    )

    def __init__(
        self,
        connections: ConnectionObserver,
        server: web.Server,
        fast_path: FastPath,
        pending: PendingResponses,
        **options: Any,
    ) -> None:
        super().__init__(connections, server, **options)
        self._fast_path = fast_path
        self._pending = pending
        # Requests that go the usual way, those that can't be parsed included.
        self._parsed = 0
        self._answered = 0
        self._handled_fast = False
        self._under_way = False
        self._held = b""
        self._closing = False
        self._pending_response: PendingResponse | None = None
        self._parser = cast("HttpRequestParser", _Parser(self._parser, self))

    @property
    def idle(self) -> bool:
        """Whether it waits for a request, or for the rest of a request's head."""
        return not self._under_way and self._parsed <= self._answered and self._body_has_come

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._under_way:
            # Its turn comes when the answer before it is on its way.
            if data and self.transport is not None:
                self._held += data
                self.transport.pause_reading()
            return
        self._handled_fast = False
        # Of a request that was answered before all of it had come: no head.
        of_a_body = not self._body_has_come
        web.RequestHandler.data_received(self, data)
        if self._handled_fast or of_a_body or not self.idle:
            self._head_bytes = 0
            self._connections.used(self)
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.abort()

    def eof_received(self) -> bool:  # type: ignore[override]
        """See `asyncio.Protocol`; it is kept while it owes an answer that it can give."""
        self._eof = True
        self._client_gone()
        return self._body_has_come and not self.idle

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._release_response()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._release_response()

    def close(self) -> None:
        """See `aiohttp.web.RequestHandler`; an answer under way is waited for."""
        if self._under_way:
            self._closing = True
        else:
            super().close()

    def _answered_one(self) -> None:
        self._answered += 1
        if self._eof and self.idle:
            # When the request is over for aiohttp, too.
            super().close()

    def _process_keepalive(self) -> None:
        if self._under_way:
            self._be_idle_from_now()
        super()._process_keepalive()

    def _be_idle_from_now(self) -> None:
        self._next_keepalive_close_time = self._loop.time() + self.keepalive_timeout

    def handle_messages(self, messages: Sequence[Message], *, upgraded: bool) -> bool:
        """See `MessageHandler`."""
        # In its turn only, and not before the answer before it was taken.
        if (
            len(messages) == 1
            and not upgraded
            and self._parsed <= self._answered
            and self._pending_response is None
        ):
            self._under_way = True
            self._handled_fast = self._fast_path.handle(
                *messages[0], self._reply, self.client, self.certificate_names
            )
            if self._handled_fast:
                return True
            self._under_way = False
        self._parsed += len(messages)
        return False

    def handle_unparsable(self) -> None:
        """See `MessageHandler`."""
        self._parsed += 1
        if self._body is not None and not self._body.is_eof():
            # It is the body that is broken, and its reader would wait for the rest.
            self._body.set_exception(web.RequestPayloadError("the body is no HTTP"))

    def _reply(self, context: RequestContext, answer: bytes) -> bool:
        self._under_way = False
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        transport.write(answer)
        if transport.get_write_buffer_size():
            self._pending_response = self._pending.hold(transport, context, len(answer))
        self._be_idle_from_now()
        if self._closing:
            self.close()
        elif self._held:
            held, self._held = self._held, b""
            transport.resume_reading()
            self.data_received(held)
        if self._eof and self.idle:
            # What the transport still holds is sent first; half a request never gets its rest.
            self.force_close()
        return True

    def _release_response(self) -> None:
        if self._pending_response is not None:
            self._pending.release(self._pending_response)
            self._pending_response = None


class MessageHandler(Protocol):
    """A handler of requests as soon as they are parsed."""

    def handle_messages(self, messages: Sequence[Message], *, upgraded: bool) -> bool:
        """Handle requests, at least one; True: it is one, and aiohttp need not see it."""
        ...

    def handle_unparsable(self) -> None:
        """Take notice that what came is no HTTP; aiohttp answers that."""


class _Parser:
    """aiohttp's parser, without the requests that are handled as soon as they are parsed."""

    def __init__(self, parser: Any, handler: MessageHandler) -> None:
        self._parser = parser
        self._handler = handler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> tuple[Sequence[Message], bool, bytes]:
        try:
            messages, upgraded, tail = self._parser.feed_data(data)
        except HttpProcessingError:
            self._handler.handle_unparsable()
            raise
        if messages and self._handler.handle_messages(messages, upgraded=upgraded):
            self._parser.message_consumed()
            messages = ()
        return messages, upgraded, tail


def obstacle(server: web.Server) -> str | None:
    """Return why publishes can't take the fast path with this aiohttp; None if they can.

    A publish is given to a connection that goes nowhere, which must let it be taken away.

    Args:
        server: connections are made for it.
    """
    sample = _Sample()
    try:
        handler: Any = web.RequestHandler(server, loop=asyncio.get_running_loop())
        handler._next_keepalive_close_time += 0.0  # noqa: SLF001 - what this is about
        if not callable(handler._process_keepalive):  # noqa: SLF001
            return "_process_keepalive is no method"
        handler._parser = _Parser(handler._parser, sample)  # noqa: SLF001
        for _ in range(_SAMPLES):
            handler.data_received(_SAMPLE)
        # Were those still counted as waiting, one of these would be held back.
        handler.data_received(_SAMPLE + _SAMPLE)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is another aiohttp
        return f"{type(error).__name__}: {error}"
    return None if sample.fitting == _SAMPLES + 2 else "its parser gives something else than it did"


class _Sample:
    def __init__(self) -> None:
        self.fitting = 0

    def handle_messages(self, messages: Sequence[Message], *, upgraded: bool) -> bool:
        self.fitting += sum(_fits(message, body) for message, body in messages)
        return len(messages) == 1 and not upgraded

    def handle_unparsable(self) -> None:
        raise ValueError("a publish is taken for no HTTP")


def _fits(message: RawRequestMessage, body: StreamReader) -> bool:
    return (
        message.path == "/publish"
        and message.method == "POST"
        and message.version == HttpVersion11
        and not message.should_close
        and message.headers["x-request-id"] == "r"
        and body.is_eof()
        and body.total_bytes == len(_SAMPLE_BODY)
        and body.read_nowait() == _SAMPLE_BODY
    )
