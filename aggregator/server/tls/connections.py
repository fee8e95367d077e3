"""The protocol factory of a server with TLS."""

import asyncio
from collections.abc import Callable

from aggregator.http.connection import ConnectionObserver, CountedConnection
from aggregator.server.tls.connection import TlsConnection
from aggregator.server.tls.failures import TlsFailures
from aggregator.server.tls.live import LiveContext

_HANDSHAKE_S = 10.0


class TlsConnections:
    """Makes connections whose handshake is with the context that is in force then.

    Args:
        make_protocol: makes what is served behind the handshake.
        connections: observer of connections, which bounds them.
        live: has the context.
        idle_timeout_s: longest time a connection may wait for a request, in seconds; its handshake
            has no more.
    """

    def __init__(
        self,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        connections: ConnectionObserver,
        live: LiveContext,
        idle_timeout_s: float,
    ) -> None:
        self._make_protocol = make_protocol
        self._connections = connections
        self._live = live
        self._timeout_s = min(_HANDSHAKE_S, idle_timeout_s)
        self._failures = TlsFailures()
        self._shaking_hands: set[CountedConnection] = set()

    def __call__(self) -> TlsConnection:
        """Make the protocol of a new connection."""
        return TlsConnection(
            self._live.context,
            self._make_protocol,
            connections=self,
            failures=self._failures,
            handshake_timeout_s=self._timeout_s,
        )

    def opened(self, connection: CountedConnection) -> None:
        """Count a connection whose handshake begins."""
        self._shaking_hands.add(connection)
        self._connections.opened(connection)

    def used(self, connection: CountedConnection) -> None:
        """See `ConnectionObserver`."""
        self._connections.used(connection)

    def closed(self, connection: CountedConnection) -> None:
        """Count a connection no longer: its handshake is over, one way or the other."""
        self._shaking_hands.discard(connection)
        self._connections.closed(connection)

    def close(self) -> None:
        """End every connection whose handshake is not done, since nobody will serve it."""
        for connection in list(self._shaking_hands):
            connection.abort()
