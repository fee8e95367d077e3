"""Messages between two processes over a socket: each is its length, then its bytes."""

import asyncio
import socket
from collections.abc import Callable
from typing import BinaryIO, cast

_LENGTH_BYTES = 4


class Channel(asyncio.Protocol):
    """One end of the connection.

    Args:
        on_message: given each message of the other end, in order; valid until it returns.
        on_end: told that the other end is gone, once.
    """

    def __init__(
        self, on_message: Callable[[memoryview], None], on_end: Callable[[], None]
    ) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._received += data
        start = 0
        # Released before anything is cut off: what a view is on keeps its size.
        with memoryview(self._received) as received:
            while len(received) - start >= _LENGTH_BYTES:
                body = start + _LENGTH_BYTES
                end = body + int.from_bytes(received[start:body], "big")
                if len(received) < end:
                    break
                with received[body:end] as message:
                    self._on_message(message)
                start = end
        del self._received[:start]

    def connection_lost(self, _exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        self._on_end()

    def send(self, message: bytes) -> None:
        """Give a message to the other end; one that is gone does not get it."""
        if self._transport is not None:
            self._transport.writelines([len(message).to_bytes(_LENGTH_BYTES, "big"), message])

    def close(self) -> None:
        """End it, once what was sent is on its way."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it now: nothing more is sent, nor taken in."""
        if self._transport is not None:
            self._transport.abort()


def receive(received: BinaryIO) -> bytes:
    """Wait for the next message, in a thread; empty if the other end is gone before it is whole.

    Args:
        received: what reads from the socket, with a buffer, and is used for nothing else.
    """
    length = int.from_bytes(received.read(_LENGTH_BYTES), "big")
    message = received.read(length)
    return message if len(message) == length else b""


def send(connection: socket.socket, message: bytes) -> None:
    """Give a message to the other end, from a thread; `OSError` if it is gone."""
    connection.sendall(len(message).to_bytes(_LENGTH_BYTES, "big") + message)
