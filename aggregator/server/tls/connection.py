"""One connection with TLS: its handshake, and what comes in behind it."""

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import cast

from aggregator.http.client_certificate import not_after
from aggregator.http.connection import ConnectionObserver
from aggregator.server.tls.failures import TlsFailures, reason_of
from aggregator.server.tls.transport import TlsTransport

_READ_BYTES = 256 * 1024

_MAX_UNASKED_BYTES = 64 * 1024
"""What the session itself may have to say to a client that does not read: new keys, alerts."""


class TlsConnection(asyncio.Protocol):
    """The TLS side of a connection, counted as an idle one until its handshake is done.

    Args:
        context: of the server.
        make_protocol: makes what is served behind the handshake.
        connections: observer of connections.
        failures: logs those that fail.
        handshake_timeout_s: longest time for the handshake, in seconds.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        connections: ConnectionObserver,
        failures: TlsFailures,
        handshake_timeout_s: float,
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._make_protocol = make_protocol
        self._connections = connections
        self._failures = failures
        self._timeout_s = handshake_timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._under: asyncio.Transport | None = None
        # Both are there once the handshake is done.
        self._transport: TlsTransport | None = None
        self._protocol: asyncio.Protocol | None = None
        self._client = ""
        self._begun = False
        self._failed = False
        self._eof = False
        self._keep = False
        self._paused = False
        self._unasked_bytes = 0

    @property
    def idle(self) -> bool:
        """Whether it may be closed to admit another: until its handshake is done."""
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._under = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._give_up)
        self._connections.opened(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._begun = True
        if self._failed:
            return
        self._incoming.write(data)
        try:
            if self._protocol is None and not self._shake_hands():
                return
            self._read()
        except ssl.SSLError as error:
            self._fail(reason_of(error))

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`; an end that TLS was not told of is one as well.

        HTTP says itself where a request ends.
        """
        if self._protocol is None:
            return False
        self._client_ended()
        return self._keep

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._protocol is None:
            self._handshake_over()
            # Who hangs up without a word only wanted to know whether somebody listens.
            if self._begun and not self._failed:
                self._failures.log("the connection ended within the handshake", self._client)
        else:
            self._protocol.connection_lost(exc)
        # The session, the transport and the protocol hold each other.
        self._under = self._transport = None

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = True
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = False
        self._unasked_bytes = 0
        if self._protocol is not None:
            self._protocol.resume_writing()

    def abort(self) -> None:
        """Close the connection at once; its handshake is not done."""
        self._failed = True
        if self._under is not None:
            self._under.abort()

    def _give_up(self) -> None:
        self._failures.log(f"no handshake within {self._timeout_s:g} seconds", self._client)
        self.abort()

    def _handshake_over(self) -> None:
        self._connections.closed(self)
        if self._timer is not None:
            self._timer.cancel()

    def _shake_hands(self) -> bool:
        """Go on with the handshake; True: it is done, and the connection is served."""
        if self._under is None:
            return False
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._under.write(self._outgoing.read())
            return False
        self._handshake_over()
        transport = TlsTransport(self._under, self._tls, self._outgoing)
        transport.flush()
        end = not_after(transport)
        if end is not None and end <= time.time():
            # OpenSSL has verified it when the session began, which this connection resumes.
            self._fail("the client's certificate has run out")
            return False
        self._transport, self._protocol = transport, self._make_protocol()
        self._protocol.connection_made(transport)
        if self._paused:
            self._protocol.pause_writing()
        return True

    def _read(self) -> None:
        parts: list[bytes] = []
        ended = False
        try:
            # To be told that there is no more costs more than to ask.
            while self._incoming.pending or self._tls.pending():
                if not (data := self._tls.read(_READ_BYTES)):
                    ended = True
                    break
                parts.append(data)
        except ssl.SSLWantReadError:
            # What is there of a record is not all of it.
            pass
        finally:
            self._flush_unasked()
            if parts and self._protocol is not None:
                self._protocol.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if ended:
            self._client_ended()

    def _flush_unasked(self) -> None:
        if self._transport is None:
            return
        sent = self._transport.flush()
        if self._paused:
            self._unasked_bytes += sent
            if self._unasked_bytes > _MAX_UNASKED_BYTES:
                self._fail("the client has keys renewed and does not read")

    def _client_ended(self) -> None:
        """Tell the protocol, which may still have an answer to give."""
        if self._eof or self._protocol is None or self._transport is None:
            return
        self._eof = True
        self._keep = bool(self._protocol.eof_received())
        if not self._keep:
            self._transport.close()

    def _fail(self, reason: str) -> None:
        if self._failed or self._under is None:
            return
        self._failed = True
        self._failures.log(reason, self._client)
        if not self._under.is_closing():
            # The alert, which tells the client why.
            if data := self._outgoing.read():
                self._under.write(data)
            self._under.close()
