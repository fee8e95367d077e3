"""The standard error of another process, read by the one that started it."""

import asyncio
from collections.abc import Callable

_PAUSE_S = 0.1
_MAX_TEXT_BYTES = 16 * 1024


class ProcessOutput(asyncio.Protocol):
    """The reading end of another process's standard error.

    What comes in one go, a traceback for example, is one text; so is each 16 KiB of what does
    not end.

    Args:
        on_text: callback with each text, without the white space around it.
    """

    def __init__(self, on_text: Callable[[str], object]) -> None:
        self._on_text = on_text
        self._written = bytearray()
        self._pause: asyncio.TimerHandle | None = None
        self._transport: asyncio.BaseTransport | None = None
        self.ended = asyncio.Event()
        """Set unless somebody may still write to it."""
        self.ended.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        self.ended.clear()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._written += data
        while len(self._written) > _MAX_TEXT_BYTES:
            self._emit(_MAX_TEXT_BYTES)
        if self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(_PAUSE_S, self._emit_all)

    def connection_lost(self, _exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._emit_all()
        self.ended.set()

    def close(self) -> None:
        """Read no more."""
        if self._transport is not None:
            self._transport.close()

    def _emit_all(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._emit(len(self._written))

    def _emit(self, length: int) -> None:
        text = self._written[:length].decode("utf-8", "backslashreplace").strip()
        del self._written[:length]
        if text:
            self._on_text(text)
