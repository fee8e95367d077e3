"""One request, as the log and whoever traces know it: its id, its trace, when it came.

With tracing off, the trace of a request is the one that its sender names in `traceparent`, if it
names one. What traces requests itself is `aggregator.observability.tracing`, behind
the interfaces here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
from multidict import CIMultiDictProxy, istr

from aggregator.ingest.telemetry import FlushSpan
from aggregator.wire.responses import PublishSummary
from aggregator.wire.traceparent import Traceparent, parse_traceparent

_TRACEPARENT = istr("traceparent")


class RequestTrace(Protocol):
    """A request that is part of a trace."""

    @property
    def names(self) -> Mapping[str, str]:
        """`trace_id` and `span_id`, for its log lines."""
        ...

    def end(self, status: int, duration_ms: float, summary: PublishSummary | None) -> None:
        """It is over; see `AccessLog.note`."""


Trace = Callable[[CIMultiDictProxy[str], str, str, str, str], RequestTrace | None]
"""Told of a request that begins: its headers, id, method, path as sent, and route (empty if the
path leads nowhere). None: it is part of no trace."""


class CannotTrace(Exception):
    """Tracing is turned on and can't be done; the message is one sentence that says why."""


class Tracing(Protocol):
    """What makes spans of requests and flushes, when it is turned on."""

    def request(
        self, headers: CIMultiDictProxy[str], request_id: str, method: str, path: str, route: str
    ) -> RequestTrace | None:
        """See `Trace`."""
        ...

    def flush(self, events: int, origins: Sequence[object]) -> FlushSpan | None:
        """See `aggregator.ingest.telemetry.TraceFlush`; an origin is a `RequestTrace` or None."""
        ...

    async def aclose(self) -> None:
        """Hand over the last spans, in bounded time."""


class RequestContext(msgspec.Struct, frozen=True, gc=False):
    """One request."""

    id: str
    method: str
    path: str
    """As sent; bytes that are not UTF-8 as lone surrogates."""
    route: str
    """The pattern that the path fits; empty if there is none."""
    client: str
    """The address at the other end of the connection; a proxy's, where one stands between."""
    user_agent: str
    """As its sender says, cut to a bounded length."""
    started: float
    """As `time.perf_counter` has it."""
    traced: RequestTrace | None

    @property
    def names(self) -> dict[str, str]:
        """What each of its log lines says: `request_id`, in a trace `trace_id` and `span_id`."""
        if self.traced is None:
            return {"request_id": self.id}
        return {"request_id": self.id, **self.traced.names}


class _Sent:
    """A request in the trace of its sender, whose span is the nearest that is known."""

    __slots__ = ("names",)

    def __init__(self, trace_id: str, span_id: str) -> None:
        self.names: Mapping[str, str] = {"trace_id": trace_id, "span_id": span_id}

    def end(self, status: int, duration_ms: float, summary: PublishSummary | None) -> None:
        """The sender ends its span itself."""


def sent_traceparent(headers: CIMultiDictProxy[str]) -> Traceparent | None:
    """The span that the sender names, if it names one."""
    if _TRACEPARENT not in headers:
        return None
    return parse_traceparent(headers.getall(_TRACEPARENT))


def sent_trace(headers: CIMultiDictProxy[str], *_about: str) -> RequestTrace | None:
    """The trace of the span that the sender names, if it names one; a `Trace`."""
    sent = sent_traceparent(headers)
    return None if sent is None else _Sent(sent.trace_id, sent.span_id)
