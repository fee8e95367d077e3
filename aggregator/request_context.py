"""Request context: request id, trace and start time, used by the access log and by tracing.

With tracing off, the trace of a request is the one that its sender names in `traceparent`, if it
names one.
"""

import os
import re
from collections.abc import Mapping
from typing import Protocol

import msgspec
from multidict import CIMultiDictProxy, istr

from aggregator.wire.responses import PublishSummary
from aggregator.wire.traceparent import Traceparent, parse_traceparent

_REQUEST_ID = istr("X-Request-ID")
_TRACEPARENT = istr("traceparent")
_USABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")


class RequestTrace(Protocol):
    """A trace that a request is part of."""

    @property
    def log_fields(self) -> Mapping[str, str]:
        """`trace_id` and `span_id`, for log lines."""
        ...

    def end(self, status: int, duration_ms: float, summary: PublishSummary | None) -> None:
        """End the request's span, if it has one of its own; see `AccessLog.finish`."""


class RequestContext(msgspec.Struct, frozen=True, gc=False):
    """The context of one request.

    Attributes:
        id: the request id.
        method: as sent.
        path: as sent; bytes that are not UTF-8 as lone surrogates.
        route: the pattern that the path fits; empty if there is none.
        client: the address at the other end of the connection; a proxy's, where one stands between.
        user_agent: as its sender says, cut to a bounded length.
        started: when its head had come, as `time.perf_counter` has it.
        trace: the trace that it is part of; None if it is in none.
        entry: the name of the entry that it comes from; empty if nobody was asked.
    """

    id: str
    method: str
    path: str
    route: str
    client: str
    user_agent: str
    started: float
    trace: RequestTrace | None
    entry: str = ""

    @property
    def log_fields(self) -> dict[str, str]:
        """The fields of each of its log lines: `request_id`, in a trace `trace_id`, `span_id`."""
        if self.trace is None:
            return {"request_id": self.id}
        return {"request_id": self.id, **self.trace.log_fields}


class _SentTrace:
    """The trace of a request's sender, whose span is the nearest that is known."""

    __slots__ = ("log_fields",)

    def __init__(self, trace_id: str, span_id: str) -> None:
        self.log_fields: Mapping[str, str] = {"trace_id": trace_id, "span_id": span_id}

    def end(self, status: int, duration_ms: float, summary: PublishSummary | None) -> None:
        """End nothing: the sender ends its span itself."""


def request_id(headers: Mapping[str, str]) -> str:
    """Return the id of a request: the sender's, or a new one.

    Args:
        headers: `X-Request-ID` counts if it is 1 to 128 printable ASCII characters.
    """
    sent = headers.get(_REQUEST_ID, "")
    return sent if sent and _USABLE_ID.fullmatch(sent) else os.urandom(16).hex()


def sent_traceparent(headers: CIMultiDictProxy[str]) -> Traceparent | None:
    """Return the span that the sender names, if it names one."""
    if _TRACEPARENT not in headers:
        return None
    return parse_traceparent(headers.getall(_TRACEPARENT))


def sent_trace(headers: CIMultiDictProxy[str], *_about: str) -> RequestTrace | None:
    """Return the trace of the span that the sender names, if it names one; a `StartTrace`."""
    sent = sent_traceparent(headers)
    return None if sent is None else _SentTrace(sent.trace_id, sent.span_id)
