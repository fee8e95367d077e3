"""The limit on connections: how many may be open, and which is closed to admit another."""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web

from aggregator.http.connection import Connection, CountedConnection
from aggregator.http.fast_connection import FastConnection
from aggregator.http.fast_path import FastPath
from aggregator.http.pending_responses import PendingResponses
from aggregator.logging.rate_limit import LogRateLimit

_MAX_LOOKS = 64
"""Connections looked at for one that is idle; those in use are then looked at last."""

_LOG_EVERY_S = 10.0

_log = structlog.get_logger()

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class LimitedConnections:
    """A protocol factory that bounds the open connections of a server.

    When the limit is exceeded, the longest-idle connection is closed, so that clients that only
    hold connections open keep nobody out. Only where nearly all are in use is the new one refused.

    Args:
        server: aiohttp's side of it.
        max_open: maximum number of open connections.
        pending: the bound on responses of the fast path.
        fast_path: answers plain publishes; None: they go the normal way.
        options: for each connection, see `aiohttp.web.RequestHandler`.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        max_open: int,
        pending: PendingResponses,
        fast_path: FastPath | None,
        **options: Any,
    ) -> None:
        server.request_handler = _tracked(server.request_handler)
        self._server = server
        self._max_open = max_open
        self._fast_path = fast_path
        self._pending = pending
        self._options = options
        # Least recently used first.
        self._open: dict[CountedConnection, None] = {}
        self._lines = LogRateLimit("too_many_connections", 1, every_s=_LOG_EVERY_S, level="warning")

    def __call__(self) -> Connection:
        """Make the protocol of a new connection."""
        if self._fast_path is None:
            return Connection(self, self._server, **self._options)
        return FastConnection(self, self._server, self._fast_path, self._pending, **self._options)

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: CountedConnection) -> None:
        """Count a new connection, and close another if there are too many."""
        self._open[connection] = None
        if len(self._open) > self._max_open:
            victim = self._idle_longest() or connection
            del self._open[victim]
            victim.abort()
            self._log_closed()

    def used(self, connection: CountedConnection) -> None:
        """Count a connection as the one used last."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def closed(self, connection: CountedConnection) -> None:
        """Count a connection no longer."""
        self._open.pop(connection, None)

    def _idle_longest(self) -> CountedConnection | None:
        for _ in range(min(_MAX_LOOKS, len(self._open))):
            connection = next(iter(self._open))
            if connection.idle:
                return connection
            self.used(connection)
        return None

    def _log_closed(self) -> None:
        more = self._lines.fields()
        if more is not None:
            closed = 1 + more.get("suppressed", 0)
            _log.warning(
                "too_many_connections",
                max_connections=self._max_open,
                closed=closed,
                most=self._max_open,
                cut_off=closed,
                **more,
            )


def _tracked(handler: Handler) -> Handler:
    """A handler whose connections know which request they serve."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, Connection):
            request.protocol.begins(request)
        return await handler(request)

    return handle
