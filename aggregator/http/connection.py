"""One connection, as aiohttp serves it, within the bounds that `LimitedConnections` sets.

Nothing of aiohttp's is used here but what has a public name; see `aggregator.http.fast_connection`.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.streams import StreamReader

from aggregator.http.client_certificate import certificate_names, not_after
from aggregator.settings.origins import names_loopback

MAX_HEAD_BYTES = 32 * 1024
"""A request line and its headers, together. Each alone aiohttp bounds at 8 KiB."""

_END_OF_HEAD = b"\r\n\r\n"

_TURNS = 50
"""Of the event loop, far more than aiohttp needs to go from an answer to the next request that has
come, or from a head to its handler."""


class CountedConnection(Protocol):
    """A connection as it is counted: one that is served, or whose handshake is not done."""

    @property
    def idle(self) -> bool:
        """Whether it may be closed to admit another."""

    def abort(self) -> None:
        """Close the connection at once; what is not sent is lost."""


class ConnectionObserver(Protocol):
    """An observer of connections; see `aggregator.http.connection_limit.LimitedConnections`."""

    def opened(self, connection: CountedConnection) -> None:
        """Count a connection that is made."""

    def used(self, connection: CountedConnection) -> None:
        """Count a request that is being made on it."""

    def closed(self, connection: CountedConnection) -> None:
        """Count a connection that is gone."""


class Connection(web.RequestHandler):
    """A connection, as aiohttp serves it, that is counted by `LimitedConnections`.

    A client may end its side behind its last request: what was whole by then is answered, and
    then the connection is ended.
    """

    __slots__ = (
        "_body",
        "_certificate_names",
        "_certificate_not_after",
        "_connections",
        "_due",
        "_end",
        "_eof",
        "_handled",
        "_head_bytes",
        "_head_end",
        "at_loopback",
        "client",
        "on_gone",
    )

    def __init__(self, connections: ConnectionObserver, server: web.Server, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._connections = connections
        self._head_bytes = 0
        self._head_end = b""
        # The head of a request has come in, which aiohttp is about to give to its handler.
        self._due = False
        self._handled = False
        # Of the request that is handled, or was answered before all of it had come.
        self._body: StreamReader | None = None
        self._eof = False
        # When it ends, unless another request has begun.
        self._end: asyncio.Handle | None = None
        self._certificate_names: tuple[str, ...] = ()
        self._certificate_not_after: float | None = None
        self.client = ""
        """The address at the other end; empty if it has none."""
        self.at_loopback = False
        """Whether it came to an address that only this machine reaches."""
        self.on_gone: Callable[[], object] | None = None
        """Callback of the request that is handled when its client sends no more: the connection is
        lost, or its other side was ended, which is all that is seen of most clients that go."""

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """The names of the client's certificate, verified; none once it has run out."""
        ends_s = self._certificate_not_after
        return () if ends_s is not None and time.time() >= ends_s else self._certificate_names

    @property
    def certificate_not_after(self) -> float | None:
        """When that certificate runs out, in seconds since 1970; None without one."""
        return self._certificate_not_after

    @property
    def gone(self) -> bool:
        """Whether the client sends no more."""
        return self._eof or self.transport is None

    @property
    def idle(self) -> bool:
        """Whether it waits for a request, or for the rest of a request's head."""
        return not self._due and not self._handled and self._body_has_come

    @property
    def _body_has_come(self) -> bool:
        return self._body is None or self._body.is_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        # What is written goes to the kernel at once, and what is left is known.
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=0)
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        own = transport.get_extra_info("sockname")
        self.at_loopback = isinstance(own, tuple) and names_loopback(str(own[0]))
        if transport.get_extra_info("peercert"):
            self._certificate_names = certificate_names(transport)
            self._certificate_not_after = not_after(transport)
        self._connections.opened(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self.idle:
            if self._head_bytes > MAX_HEAD_BYTES:
                self.abort()
                return
            self._read_head(data)
        super().data_received(data)

    def _read_head(self, data: bytes) -> None:
        if not self._head_bytes:
            # Empty lines ahead of a request are none of its head.
            data = data.lstrip(b"\r\n")
        head = self._head_end + data
        if _END_OF_HEAD in head:
            self._due = True
            self._head_bytes, self._head_end = 0, b""
            self._connections.used(self)
        else:
            self._head_bytes += len(data)
            self._head_end = head[1 - len(_END_OF_HEAD) :]

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.closed(self)
        super().connection_lost(exc)
        self._client_gone()

    def eof_received(self) -> bool:  # type: ignore[override]
        """See `asyncio.Protocol`; it is kept while it owes an answer that it can give."""
        self._eof = True
        self._client_gone()
        if self._body_has_come and self.idle:
            # A request may be on its way to its handler, unseen.
            self._end_soon()
        return self._body_has_come

    def _client_gone(self) -> None:
        if self.on_gone is not None:
            self.on_gone()

    def begins(self, request: web.BaseRequest) -> None:
        """Take notice that a request is given to its handler."""
        self._due = False
        self._handled = True
        self._body = request.content
        if self._end is not None:
            self._end.cancel()
        if (self._eof or self.transport is None) and not self._body_has_come:
            # The rest never will.
            self._body.set_exception(web.RequestPayloadError("the client has gone"))
            self.force_close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """See `aiohttp.web.RequestHandler`."""
        finished = await super().finish_response(request, resp, start_time)
        self._due = self._handled = False
        if self._body_has_come:
            self._body = None
        self._answered_one()
        return finished

    def _answered_one(self) -> None:
        """An answer is on its way."""
        if self._eof:
            self._end_soon()

    def _end_soon(self, turns: int = _TURNS) -> None:
        if turns:
            self._end = asyncio.get_running_loop().call_soon(self._end_soon, turns - 1)
        else:
            self.force_close()

    def abort(self) -> None:
        """Close the connection at once; what is not sent is lost."""
        if self.transport is not None:
            self.transport.abort()
