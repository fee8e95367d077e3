"""Spans of requests, of flushes and of their transactions, with their attributes.

A flush serves many requests, each in a trace of its own, so it is in none of them: it begins a
trace, with links to the requests, and each of them gets a link to it.
"""

import time
from collections.abc import Sequence
from http import HTTPStatus

from multidict import CIMultiDictProxy
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from aggregator.ingest.flush import FlushOutcome
from aggregator.ingest.telemetry import FlushSpan
from aggregator.request_context import RequestTrace, sent_trace, sent_traceparent
from aggregator.wire.responses import PublishSummary
from storage.errors import StorageError

_NS_A_MS = 1_000_000
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
_NO_PARENT = Context()


class Spans:
    """Starts the spans of requests and flushes.

    Args:
        requests: tracer for the spans of requests; it decides which are recorded.
        flushes: tracer for those of flushes, which are recorded if a request of theirs is.
        max_links: requests that a flush is linked to, the first ones; None: all.
        database: what OpenTelemetry calls the store's database: `db.system.name`.
    """

    def __init__(
        self, requests: Tracer, flushes: Tracer, *, max_links: int | None, database: str
    ) -> None:
        self._requests = requests
        self._flushes = flushes
        self._max_links = max_links
        self._database = database

    def request(
        self, headers: CIMultiDictProxy[str], request_id: str, method: str, path: str, route: str
    ) -> RequestTrace | None:
        """Start the span of a request, as a child of its sender's if it names one.

        A request that is not recorded is where it is with tracing off: in the sender's span.
        """
        sent = sent_traceparent(headers)
        parent = _NO_PARENT
        if sent is not None:
            remote = SpanContext(
                int(sent.trace_id, 16),
                int(sent.span_id, 16),
                is_remote=True,
                trace_flags=TraceFlags(sent.flags),
            )
            parent = set_span_in_context(NonRecordingSpan(remote), parent)
        known = method in _METHODS
        attributes = {
            "http.request.method": method if known else "_OTHER",
            # OTLP is UTF-8 throughout: a lone surrogate would cost the whole export.
            "url.path": path.encode("utf-8", "backslashreplace").decode(),
            "url.scheme": "http",
            "aggregator.request_id": request_id,
        }
        if not known:
            attributes["http.request.method_original"] = method
        if route:
            attributes["http.route"] = route
        name = f"{method if known else 'HTTP'} {route}".rstrip()
        started_ns = time.time_ns()
        span = self._requests.start_span(
            name, parent, SpanKind.SERVER, attributes, start_time=started_ns
        )
        return _Request(span, started_ns) if span.is_recording() else sent_trace(headers)

    def flush(self, events: int, origins: Sequence[object]) -> FlushSpan | None:
        """Start the span of a batch, linked with its recorded requests; None if it has none."""
        # A request may be over already, unanswered: the drain timeout was exceeded.
        served = [o.span for o in origins if isinstance(o, _Request) and o.span.is_recording()]
        if not served:
            return None
        flush = self._flushes.start_span(
            "flush",
            _NO_PARENT,
            links=[Link(each.get_span_context()) for each in served[: self._max_links]],
            attributes={
                "messaging.batch.message_count": events,
                "aggregator.requests": len(origins),
            },
        )
        context = flush.get_span_context()
        for each in served:
            each.add_link(context)
        return _Flush(self._flushes, flush, len(origins), self._database)


class _Request:
    """A request that is recorded."""

    __slots__ = ("_started_ns", "log_fields", "span")

    def __init__(self, span: Span, started_ns: int) -> None:
        self.span = span
        self._started_ns = started_ns
        self.log_fields = _log_fields(span)

    def end(self, status: int, duration_ms: float, summary: PublishSummary | None) -> None:
        span = self.span
        if status:
            span.set_attribute("http.response.status_code", status)
        if summary is not None:
            span.set_attributes(
                {
                    "messaging.batch.message_count": summary.received,
                    "aggregator.unique_processed": summary.unique_processed,
                    "aggregator.duplicate_dropped": summary.duplicate_dropped,
                    "aggregator.conflicts": summary.conflicts,
                }
            )
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            span.set_attribute("error.type", str(status))
            span.set_status(StatusCode.ERROR)
        elif not status:
            span.set_attribute("error.type", "unanswered")
            span.set_status(StatusCode.ERROR, "the request was not answered")
        span.end(self._started_ns + round(duration_ms * _NS_A_MS))


class _Flush:
    """A flush that is recorded."""

    def __init__(self, tracer: Tracer, span: Span, requests: int, database: str) -> None:
        self._tracer = tracer
        self._span = span
        self._requests = requests
        self._database = database
        self._stored = 0
        self._error: BaseException | None = None
        self.log_fields = _log_fields(span)

    def transaction(self, *, events: int, requests: int) -> "_Transaction":
        span = self._tracer.start_span(
            "transaction",
            set_span_in_context(self._span, _NO_PARENT),
            SpanKind.CLIENT,
            {
                "db.system.name": self._database,
                "db.operation.batch.size": events,
                "aggregator.requests": requests,
            },
        )
        return _Transaction(self, span, requests)

    def tried(self, requests: int, error: BaseException | None) -> None:
        """A transaction of so many requests has ended."""
        if error is None:
            self._stored += requests
        else:
            self._error = error

    def end(self) -> None:
        if self._stored == self._requests:
            outcome = FlushOutcome.COMMITTED.value
        else:
            # What was refused as a batch may have been stored in part, request by request.
            outcome = "partial" if self._stored else FlushOutcome.of(self._error).value
            _fail(self._span, self._error)
        self._span.set_attribute("aggregator.outcome", outcome)
        self._span.end()


class _Transaction:
    """A transaction of a flush that is recorded."""

    __slots__ = ("_flush", "_requests", "_span")

    def __init__(self, flush: _Flush, span: Span, requests: int) -> None:
        self._flush = flush
        self._span = span
        self._requests = requests

    def end(self, error: BaseException | None) -> None:
        if error is not None:
            _fail(self._span, error)
        self._span.set_attribute("aggregator.outcome", FlushOutcome.of(error).value)
        self._span.end()
        self._flush.tried(self._requests, error)


def _log_fields(span: Span) -> dict[str, str]:
    context = span.get_span_context()
    return {
        "trace_id": format_trace_id(context.trace_id),
        "span_id": format_span_id(context.span_id),
    }


def _fail(span: Span, error: BaseException | None) -> None:
    kind = type(error).__name__
    if isinstance(error, StorageError):
        description = str(error)
    elif FlushOutcome.of(error) is FlushOutcome.DRAINED:
        description = "drain timeout exceeded"
    else:
        # What nobody foresaw may tell of a payload; the log's line has where it was.
        description = kind
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, description)
