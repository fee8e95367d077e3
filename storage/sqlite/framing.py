"""Messages between two processes over a socket: each is its length, then its bytes."""

import socket
from typing import BinaryIO

LENGTH_BYTES = 4


def length_of(message: bytes) -> bytes:
    """Return what goes before a message: its length."""
    return len(message).to_bytes(LENGTH_BYTES, "big")


def receive(received: BinaryIO) -> bytes:
    """Wait for the next message, in a thread.

    Args:
        received: a buffered reader of the socket, used for nothing else.

    Returns:
        The message; empty if the other end is gone before it is whole.
    """
    length = int.from_bytes(received.read(LENGTH_BYTES), "big")
    message = received.read(length)
    return message if len(message) == length else b""


def send(connection: socket.socket, message: bytes) -> None:
    """Send a message to the other end, from a thread; `OSError` if it is gone."""
    connection.sendall(length_of(message) + message)
