"""Event streams over blocking sockets: what clients in processes of their own share."""

import socket
from urllib.parse import quote

from benchmarks.client_result import NotServed
from benchmarks.driving import get

EVENT_STREAM = "text/event-stream"
HEAD_END = b"\r\n\r\n"
CAUGHT_UP = b"event: caught-up\n"
BLOCK_END = b"\n\n"

_LIMIT_S = 60.0


def stream_request(topic: str, start: str) -> bytes:
    """Build the request of a stream.

    Args:
        topic: what it follows.
        start: where it begins, `start` or `now`.
    """
    target = f"/events?topic={quote(topic)}&from={start}"
    return get(target, f"Accept: {EVENT_STREAM}\r\n")


def open_stream(port: int, topic: str, start: str) -> socket.socket:
    """Connect to a server on this machine and ask for a stream."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S)
    connection.sendall(stream_request(topic, start))
    return connection


def read_first_block(connection: socket.socket) -> bytes:
    """Read the head of an answer and the first block of its stream, and what came with them.

    Raises:
        NotServed: the server does not answer with a stream.
    """
    received = b""
    while BLOCK_END not in received[received.find(HEAD_END) + len(HEAD_END) :]:
        piece = connection.recv(1 << 16)
        received += piece
        head, found, _ = received.partition(HEAD_END)
        if found and not (
            head.startswith(b"HTTP/1.1 200 ") and EVENT_STREAM.encode() in head.lower()
        ):
            raise NotServed(f"the server does not answer {EVENT_STREAM}: {head[:80]!r}")
        if not piece:
            raise SystemExit(f"a stream ended before its first block: {received[-200:]!r}")
    if b"event: unavailable\n" in received:
        raise SystemExit(f"a stream is not to be had: {received[-200:]!r}")
    return received
