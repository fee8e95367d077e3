"""The open connections of a server: how many there may be, and which is ended for another."""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web

from aggregator.http.connection import Connection
from aggregator.http.fast_connection import FastConnection
from aggregator.http.fast_path import FastPath
from aggregator.http.response_sender import ResponseSender
from aggregator.log.rate_limit import LogRateLimit

_LOOKED_AT = 64
"""So many are looked at for one that is idle; those in use are then looked at last."""

_LOG_EVERY_S = 10.0

_log = structlog.get_logger()

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class LimitedConnections:
    """The open connections of a server, and what makes them: a protocol factory.

    When there are as many as there may be, the one that has been idle for longest makes room
    for the next, so that those who only hold connections open keep nobody out. Only where
    nearly all are in use is the new one turned away.

    Args:
        server: aiohttp's side of it.
        most: so many may be open.
        answers: the bound on what is answered before it becomes a request.
        express: what does so with publishes; None: they go the usual way.
        options: for each, see `aiohttp.web.RequestHandler`.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        most: int,
        sender: ResponseSender,
        fast_path: FastPath | None,
        **options: Any,
    ) -> None:
        server.request_handler = _tracked(server.request_handler)
        self._server = server
        self._most = most
        self._fast_path = fast_path
        self._sender = sender
        self._options = options
        # Least recently used first.
        self._open: dict[Connection, None] = {}
        self._lines = LogRateLimit("too_many_connections", 1, every_s=_LOG_EVERY_S, level="warning")

    def __call__(self) -> Connection:
        """A protocol for a new connection."""
        if self._fast_path is None:
            return Connection(self, self._server, **self._options)
        return FastConnection(self, self._server, self._fast_path, self._sender, **self._options)

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
        more = self._lines.fields()
        if more is not None:
            cut_off = 1 + more.get("left_out_before", 0)
            _log.warning("too_many_connections", most=self._most, cut_off=cut_off, **more)


def _tracked(handler: Handler) -> Handler:
    """A handler whose connections know which request they are at."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, Connection):
            request.protocol.begins(request)
        return await handler(request)

    return handle
