"""Clients that are slow, silent or never read, over bare sockets; and what a process holds."""

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from support.processes import Aggregator

BOUND_MIB = 400
"""What an aggregator may ever hold, at its default settings."""


def most_memory_mib(aggregator: Aggregator) -> int:
    """The most resident memory that its processes ever had, taken together, in MiB."""
    kib = 0
    for process in aggregator.processes():
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak is not None
        kib += int(peak[1])
    return kib // 1024


def get(target: str) -> bytes:
    """A GET request."""
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def post(body: bytes) -> bytes:
    """A POST to /publish."""
    return head_of_post(len(body)) + body


def head_of_post(length: int) -> bytes:
    """Its head alone."""
    return f"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


@contextmanager
def connections(aggregator: Aggregator) -> Iterator["Connections"]:
    """Connections to it that are gone at the end."""
    opened = Connections(aggregator)
    try:
        yield opened
    finally:
        opened.close()


class Connections:
    """Bare connections of which nothing is read unless it is asked for."""

    def __init__(self, aggregator: Aggregator) -> None:
        url = urlsplit(aggregator.url)
        assert url.hostname is not None
        assert url.port is not None
        self._address = (url.hostname, url.port)
        self._trusting = aggregator.trusting
        self._sockets: list[socket.socket] = []

    def open(self, sent: bytes = b"", *, receive_buffer: int | None = None) -> socket.socket:
        """One more, on which this is sent at once; with TLS if the aggregator speaks it."""
        connection = socket.socket()
        connection.settimeout(30.0)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if self._trusting is not None:
            connection = self._trusting.wrap_socket(
                connection, server_hostname=self._address[0], suppress_ragged_eofs=False
            )
        self._sockets.append(connection)
        connection.connect(self._address)
        connection.sendall(sent)
        return connection

    def close(self) -> None:
        """End them all."""
        for connection in self._sockets:
            connection.close()


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has ended it; what it sent before that is thrown away."""
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except ConnectionError:
        return True
    return True


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    connection.settimeout(60.0)
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65_536)
        assert data, received
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None
    parts = [body]
    missing = int(length[1]) - len(body)
    while missing > 0:
        data = connection.recv(min(missing, 2**20))
        assert data
        parts.append(data)
        missing -= len(data)
    return int(head.split()[1]), b"".join(parts)
