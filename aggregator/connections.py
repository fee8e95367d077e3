"""Connections, and the bounds on them: how many, how long idle, how long the head of a request."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader

from aggregator.door import Door

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

    __slots__ = ("_answered", "_connections", "_door", "_head_bytes", "_refused")

    def __init__(
        self, connections: "Connections", server: web.Server, door: Door, **options: Any
    ) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._connections = connections
        self._door = door
        self._head_bytes = 0
        self._answered = 0
        self._refused = False
        self._parser = cast("HttpRequestParser", _PastTheDoor(self._parser, self._refuse))

    @property
    def idle(self) -> bool:
        """Whether it waits for a request, or for the rest of a request's head."""
        return self._waiter is not None and not self._waiter.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._connections.opened(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._refused = False
        super().data_received(data)
        if self._refused or not self.idle:
            self._head_bytes = 0
            self._connections.used(self)
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.cut_off()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.closed(self)
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """See `aiohttp.web.RequestHandler`."""
        finished = await super().finish_response(request, resp, start_time)
        self._answered += 1
        return finished

    def _refuse(self, message: RawRequestMessage, body: StreamReader) -> bool:
        # In its turn only. An answer that has to wait for its reader goes the usual way, where
        # such are bounded.
        if (
            self._answered < self._request_count
            or self.transport is None
            or self.transport.get_write_buffer_size()
        ):
            return False
        answer = self._door.refuse(message, body)
        if answer is None:
            return False
        self.transport.write(answer)
        self._refused = True
        # As aiohttp does after an answer: the connection is idle from now on.
        self._next_keepalive_close_time = self._loop.time() + self.keepalive_timeout
        return True

    def cut_off(self) -> None:
        """End it without another word."""
        if self.transport is not None:
            self.transport.abort()


class _PastTheDoor:
    """aiohttp's parser, without the requests that are refused as soon as they are read."""

    def __init__(
        self, parser: Any, refuse: Callable[[RawRequestMessage, StreamReader], bool]
    ) -> None:
        self._parser = parser
        self._refuse = refuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> tuple[Sequence[Message], bool, bytes]:
        messages, upgraded, tail = self._parser.feed_data(data)
        if len(messages) == 1 and not upgraded and self._refuse(*messages[0]):
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
        door: what refuses publishes before they become requests.
        options: for each, see `aiohttp.web.RequestHandler`.
    """

    def __init__(self, server: web.Server, *, most: int, door: Door, **options: Any) -> None:
        self._server = server
        self._most = most
        self._door = door
        self._options = options
        # Least recently used first.
        self._open: dict[Connection, None] = {}
        self._cut_off = 0
        self._logged_at = -_LOG_EVERY_S

    def __call__(self) -> Connection:
        """A protocol for a new connection."""
        return Connection(self, self._server, self._door, **self._options)

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
