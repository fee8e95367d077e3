"""The protocols that tracing implements, so that nothing else needs OpenTelemetry."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from multidict import CIMultiDictProxy

from aggregator.request_context import RequestTrace


class TransactionSpan(Protocol):
    """A span of one try to have a batch committed."""

    def end(self, error: BaseException | None) -> None:
        """End the span when the store has answered; None: committed."""


class FlushSpan(Protocol):
    """A span of one batch, from when the store is given it to the end of its last try."""

    @property
    def log_fields(self) -> Mapping[str, str]:
        """`trace_id` and `span_id`, for log lines."""
        ...

    def transaction(self, *, events: int, requests: int) -> TransactionSpan:
        """Start the span of a try with so many events of so many requests."""
        ...

    def end(self) -> None:
        """End the span: there will be no more tries."""


StartFlushSpan = Callable[[int, Sequence[object]], FlushSpan | None]
"""Callback before the store is given a batch, with the number of its events and the origin of each
of its requests, as it came with it. None: the batch is not traced."""

StartTrace = Callable[[CIMultiDictProxy[str], str, str, str, str], RequestTrace | None]
"""Callback when the head of a request has come, with its headers, id, method, path as sent, and
route (empty if the path leads nowhere). None: the request is part of no trace."""


class CannotTrace(Exception):
    """Tracing is turned on and can't be done; the message is one sentence that says why."""


class Tracing(Protocol):
    """A maker of spans for requests and flushes, when tracing is turned on."""

    def request(
        self, headers: CIMultiDictProxy[str], request_id: str, method: str, path: str, route: str
    ) -> RequestTrace | None:
        """Start the span of a request; a `StartTrace`."""
        ...

    def flush(self, events: int, origins: Sequence[object]) -> FlushSpan | None:
        """Start the span of a flush; a `StartFlushSpan`. An origin is a `RequestTrace` or None."""
        ...

    async def aclose(self) -> None:
        """Export the last spans, in bounded time."""
