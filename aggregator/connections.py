"""Connections, and the bounds on them: how many, how long idle, how long the head of a request."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader

from aggregator.asked import Asked
from aggregator.express import Express
from aggregator.sending import Answers, Unsent

MAX_HEAD_BYTES = 32 * 1024
"""A request line and its headers, together. Each alone aiohttp bounds at 8 KiB."""

_LOOKED_AT = 64
"""So many are looked at for one that is idle; those in use are then looked at last."""

_LOG_EVERY_S = 10.0

_log = structlog.get_logger()

Message = tuple[RawRequestMessage, StreamReader]
"""The head of a request, and its body as far as it has come in."""


class Connection(web.RequestHandler):
    """One connection, as aiohttp serves it, that tells `Connections` what becomes of it."""

    __slots__ = (
        "_answered",
        "_answers",
        "_closing",
        "_connections",
        "_express",
        "_head_bytes",
        "_held",
        "_taken",
        "_under_way",
        "_unsent",
    )

    def __init__(
        self,
        connections: "Connections",
        server: web.Server,
        express: Express,
        answers: Answers,
        **options: Any,
    ) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._connections = connections
        self._express = express
        self._answers = answers
        self._head_bytes = 0
        self._answered = 0
        self._taken = False
        self._under_way = False
        self._held = b""
        self._closing = False
        self._unsent: Unsent | None = None
        self._parser = cast("HttpRequestParser", _Parser(self._parser, self._take))

    @property
    def idle(self) -> bool:
        """Whether it waits for a request, or for the rest of a request's head."""
        return not self._under_way and self._waiter is not None and not self._waiter.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        # What is written goes to the kernel at once, and what is left is known.
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=0)
        self._connections.opened(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._under_way:
            # Its turn comes when the answer before it is on its way.
            if data and self.transport is not None:
                self._held += data
                self.transport.pause_reading()
            return
        self._taken = False
        super().data_received(data)
        if self._taken or not self.idle:
            self._head_bytes = 0
            self._connections.used(self)
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.cut_off()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.closed(self)
        self._forget_unsent()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._forget_unsent()

    def close(self) -> None:
        """See `aiohttp.web.RequestHandler`; an answer under way is waited for."""
        if self._under_way:
            self._closing = True
        else:
            super().close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """See `aiohttp.web.RequestHandler`."""
        finished = await super().finish_response(request, resp, start_time)
        self._answered += 1
        return finished

    def _process_keepalive(self) -> None:
        if self._under_way:
            self._be_idle_from_now()
        super()._process_keepalive()

    def _be_idle_from_now(self) -> None:
        self._next_keepalive_close_time = self._loop.time() + self.keepalive_timeout

    def _take(self, message: RawRequestMessage, body: StreamReader) -> bool:
        # In its turn only, and not before the answer before it was taken.
        if self._answered < self._request_count or self._unsent is not None:
            return False
        self._under_way = True
        self._taken = self._express.take(message, body, self._reply)
        if not self._taken:
            self._under_way = False
        return self._taken

    def _reply(self, asked: Asked, answer: bytes) -> None:
        self._under_way = False
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        transport.write(answer)
        if transport.get_write_buffer_size():
            self._unsent = self._answers.hold(transport, asked, len(answer))
        self._be_idle_from_now()
        if self._closing:
            self.close()
        elif self._held:
            held, self._held = self._held, b""
            transport.resume_reading()
            self.data_received(held)

    def _forget_unsent(self) -> None:
        if self._unsent is not None:
            self._answers.sent(self._unsent)
            self._unsent = None

    def cut_off(self) -> None:
        """End it without another word."""
        if self.transport is not None:
            self.transport.abort()


class _Parser:
    """aiohttp's parser, without the requests that are dealt with as soon as they are read."""

    def __init__(
        self, parser: Any, take: Callable[[RawRequestMessage, StreamReader], bool]
    ) -> None:
        self._parser = parser
        self._take = take

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> tuple[Sequence[Message], bool, bytes]:
        messages, upgraded, tail = self._parser.feed_data(data)
        if len(messages) == 1 and not upgraded and self._take(*messages[0]):
            self._parser.message_consumed()
            messages = ()
        return messages, upgraded, tail


class Connections:
    """The open connections of a server, and what makes them: a protocol factory.

    When there are as many as there may be, the one that has been idle for longest makes room
    for the next, so that those who only hold connections open keep nobody out. Only where
    nearly all are in use is the new one turned away.

    Args:
        server: aiohttp's side of it.
        most: so many may be open.
        express: what deals with publishes before they become requests.
        answers: the bound on what is answered so.
        options: for each, see `aiohttp.web.RequestHandler`.
    """

    def __init__(
        self, server: web.Server, *, most: int, express: Express, answers: Answers, **options: Any
    ) -> None:
        self._server = server
        self._most = most
        self._express = express
        self._answers = answers
        self._options = options
        # Least recently used first.
        self._open: dict[Connection, None] = {}
        self._cut_off = 0
        self._logged_at = -_LOG_EVERY_S

    def __call__(self) -> Connection:
        """A protocol for a new connection."""
        return Connection(self, self._server, self._express, self._answers, **self._options)

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: Connection) -> None:
        """Count a new one in, and end another if there are too many."""
        self._open[connection] = None
        if len(self._open) > self._most:
            victim = self._idle_longest() or connection
            del self._open[victim]
            victim.cut_off()
            self._note()

    def used(self, connection: Connection) -> None:
        """A request is being made on it."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def closed(self, connection: Connection) -> None:
        """Count one out."""
        self._open.pop(connection, None)

    def _idle_longest(self) -> Connection | None:
        for _ in range(min(_LOOKED_AT, len(self._open))):
            connection = next(iter(self._open))
            if connection.idle:
                return connection
            self.used(connection)
        return None

    def _note(self) -> None:
        self._cut_off += 1
        if time.monotonic() - self._logged_at >= _LOG_EVERY_S:
            _log.warning("too_many_connections", most=self._most, cut_off=self._cut_off)
            self._logged_at = time.monotonic()
            self._cut_off = 0
