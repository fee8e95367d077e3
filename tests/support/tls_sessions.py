"""Both ends of TLS in one test: a server whose protocols a test makes, and clients of its own."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aggregator.http.connection import ConnectionObserver, CountedConnection
from aggregator.server.tls.connections import TlsConnections
from aggregator.server.tls.files import TlsFiles
from aggregator.server.tls.live import LiveContext
from support.tls import Pair

_LIMIT_S = 30.0


class Counted:
    """An observer that counts what is open, and bounds nothing."""

    def __init__(self) -> None:
        self.open: list[CountedConnection] = []

    def opened(self, connection: CountedConnection) -> None:
        """See `ConnectionObserver`."""
        self.open.append(connection)

    def used(self, connection: CountedConnection) -> None:
        """See `ConnectionObserver`."""

    def closed(self, connection: CountedConnection) -> None:
        """See `ConnectionObserver`; it may be told twice."""
        if connection in self.open:
            self.open.remove(connection)


@asynccontextmanager
async def serving_sessions(
    make_protocol: Callable[[], asyncio.Protocol],
    pair: Pair,
    *,
    client_ca: Path | None = None,
    observer: ConnectionObserver | None = None,
    idle_timeout_s: float = _LIMIT_S,
) -> AsyncIterator[int]:
    """A server with TLS behind which a test's protocols are; gives its port."""
    files = TlsFiles(cert=pair.cert, key=pair.key, client_ca=client_ca, client_required=False)
    connections = TlsConnections(
        make_protocol,
        connections=Counted() if observer is None else observer,
        live=LiveContext(files),
        idle_timeout_s=idle_timeout_s,
    )
    server = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        connections.close()


class Session:
    """A client's session over a socket, whose end a test may tell of with or without TLS."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        *,
        receive_buffer: int | None = None,
        resumed: ssl.SSLSession | None = None,
    ) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(_LIMIT_S)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="127.0.0.1", session=resumed
        )
        self._until(self.tls.do_handshake)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]
        self._flush()

    def receive(self, size: int = 65_536) -> bytes:
        """Return what comes next; b"" if the other side has said that nothing more comes.

        Raises:
            ConnectionError: it has ended without a word.
        """
        return self._until(lambda: self.tls.read(size))

    def receive_all(self) -> bytes:
        """Return all that comes until the other side says that it was all."""
        return b"".join(iter(self.receive, b""))

    def end_session(self) -> None:
        """Say that nothing more is sent, in terms of TLS."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            self._flush()

    def end_socket(self) -> None:
        """End the sending side of the socket, and say nothing."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _flush(self) -> None:
        # Even to send nothing is an error behind the end of the sending side.
        if data := self._outgoing.read():
            self.socket.sendall(data)

    def _until(self, step: Callable[[], bytes | None]) -> bytes:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self.socket.recv(65_536)
                if not data:
                    raise ConnectionError("it ended without a word") from None
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                # As Python says it to who has ended its own side.
                return b""
            else:
                self._flush()
                return done or b""
