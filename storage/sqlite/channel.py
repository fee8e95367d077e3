"""The event loop's end of a connection to another process; see `storage.sqlite.framing`."""

import asyncio
from collections.abc import Callable
from typing import cast

from storage.sqlite.framing import LENGTH_BYTES, length_of


class Channel(asyncio.Protocol):
    """One end of the connection.

    Args:
        on_message: callback with each message of the other end, in order; the view is valid
            until it returns.
        on_end: callback once the other end is gone.
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
            while len(received) - start >= LENGTH_BYTES:
                body = start + LENGTH_BYTES
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
        """Send a message to the other end; one that is gone does not get it."""
        if self._transport is not None:
            self._transport.writelines([length_of(message), message])

    def close(self) -> None:
        """Close it, once what was sent is on its way."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close it now: nothing more is sent or received."""
        if self._transport is not None:
            self._transport.abort()
