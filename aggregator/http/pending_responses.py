"""The responses that their readers have not taken yet: bounded in bytes and in time.

Until its reader has taken it, a response is held in memory, and a reader may take its time or never
read at all. That must cost neither memory without bound nor anybody else's response: past a bound
streams drop what they can read again, and then the response of the slowest reader is aborted, with
its connection.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from aggregator.request_context import RequestContext

_log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class PendingResponse:
    """A response that its reader has not taken yet."""

    context: RequestContext
    transport: asyncio.Transport
    size: int
    """Bytes of it that are held here."""
    written: Callable[[], int]
    """Returns the bytes that the transport was given."""
    started: float
    drop: Callable[[], object] | None = None
    """Drops what a streamed response can read again; None for any other one."""
    end: Callable[[], object] | None = None
    """Ends a streamed response so that its reader sees that it is not all; None for any other."""
    since: float = 0.0
    """When its time to be taken began: a streamed response has it anew whenever some is taken."""
    sent_before: int = 0
    """Bytes that the kernel had taken when that was looked at last."""

    def sent(self) -> int:
        """Return the bytes that the kernel has taken."""
        return max(self.written() - self.transport.get_write_buffer_size(), 0)


class PendingResponses:
    """Counts responses on their way, and bounds them.

    Args:
        max_bytes: bytes held in all; a response that is larger goes alone.
        timeout_s: how long a reader may take for one response, in seconds; for a stream, how long
            it may take nothing of it.
    """

    def __init__(self, *, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        # In the order in which their times began.
        self._pending: dict[PendingResponse, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.bytes = 0

    def hold(
        self, transport: asyncio.Transport, context: RequestContext, size: int
    ) -> PendingResponse:
        """Count a response that a transport was given, and of which it still holds a part.

        Args:
            transport: of its connection.
            context: of its request.
            size: bytes of the whole response.

        Returns:
            What to give to `release` when the transport holds nothing again, or the connection is
            gone.
        """
        return self.begin(transport, context, size, lambda: size)

    def release(self, pending: PendingResponse) -> None:
        """Count a response no longer: its reader has taken it, or never will."""
        if pending in self._pending:
            del self._pending[pending]
            self.bytes -= pending.size

    def begin(
        self,
        transport: asyncio.Transport,
        context: RequestContext,
        size: int,
        written: Callable[[], int],
        *,
        drop: Callable[[], object] | None = None,
        end: Callable[[], object] | None = None,
    ) -> PendingResponse:
        """Count a response that is about to be sent.

        Args:
            transport: of its connection.
            context: of its request.
            size: bytes that are held of it.
            written: returns the bytes that the transport was given.
            drop: of a stream, drops what can be read again.
            end: of a stream, ends it so that its reader sees that it is not all.

        Returns:
            What to give to `release` when none of it is held any more.
        """
        if self._pending and self.bytes + size > self._max_bytes:
            self._make_room(size)
        loop = asyncio.get_running_loop()
        now = loop.time()
        pending = PendingResponse(context, transport, size, written, now, drop, end, now)
        self._pending[pending] = None
        self.bytes += size
        if self._timer is None:
            self._timer = loop.call_later(self._timeout_s, self._expire)
        return pending

    def resize(self, pending: PendingResponse, size: int) -> None:
        """Count a response with the bytes that are held of it now."""
        if pending not in self._pending:
            return
        self.bytes += size - pending.size
        grown, pending.size = size > pending.size, size
        if grown and self.bytes > self._max_bytes and len(self._pending) > 1:
            self._make_room(0, pending)

    def end_streams(self) -> None:
        """End every stream that is not whole yet, since the process is about to end."""
        for pending in list(self._pending):
            if pending.drop is not None:
                self._abort(pending, "the aggregator is shutting down")

    def _renew(self, pending: PendingResponse, now: float) -> None:
        """Give a streamed response its time anew, and its place behind the others."""
        if pending in self._pending:
            pending.since = now
            del self._pending[pending]
            self._pending[pending] = None

    def _make_room(self, size: int, spared: PendingResponse | None = None) -> None:
        now = asyncio.get_running_loop().time()
        # One that has just begun had no time to be slow, and is fast by this measure.
        slowest_first = sorted(
            (pending for pending in self._pending if pending is not spared),
            key=lambda pending: pending.sent() / (now - pending.started + 1e-6),
        )
        for pending in slowest_first:
            if self.bytes + size <= self._max_bytes:
                return
            if pending.drop is not None:
                pending.drop()
        for pending in slowest_first:
            if self.bytes + size <= self._max_bytes:
                return
            self._abort(pending, "others need the room")

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for pending in list(self._pending):
            now = loop.time()
            left_s = pending.since + self._timeout_s - now
            if left_s > 0:
                self._timer = loop.call_later(left_s, self._expire)
                return
            if pending.drop is not None and self._was_taken(pending):
                self._renew(pending, now)
                continue
            self._abort(pending, f"not taken within {self._timeout_s:g} seconds")
        if self._pending:
            self._timer = loop.call_later(self._timeout_s, self._expire)

    def _was_taken(self, pending: PendingResponse) -> bool:
        """Return whether some was taken of a streamed response, or there was nothing to take."""
        before, pending.sent_before = pending.sent_before, pending.sent()
        return pending.sent_before > before or not pending.transport.get_write_buffer_size()

    def _abort(self, pending: PendingResponse, reason: str) -> None:
        _log.warning(
            "response_aborted",
            formerly="answer_cut_off",
            reason=reason,
            bytes=pending.size if pending.drop is None else pending.written(),
            sent=pending.sent(),
            **pending.context.log_fields,
        )
        self.release(pending)
        (pending.end or pending.transport.abort)()
