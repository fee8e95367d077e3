"""The access log: one line for every request."""

import asyncio
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec
import structlog
from multidict import CIMultiDictProxy, istr

from aggregator.ingest.telemetry import StartTrace
from aggregator.logging.observer_guard import log_failure, notify
from aggregator.logging.rate_limit import LogRateLimit
from aggregator.logging.setup import timestamp
from aggregator.observability.labels import LEASE_WAITS_PATH, WAITS_PATH
from aggregator.request_context import RequestContext, request_id, sent_trace
from aggregator.wire.responses import PublishSummary

_REFUSED = int(HTTPStatus.SERVICE_UNAVAILABLE)
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
_USER_AGENT = istr("User-Agent")
_MAX_USER_AGENT_CHARACTERS = 100
_log = structlog.get_logger()


def _printable(text: str) -> str:
    """The text without lone surrogates, which JSON can't hold."""
    return text.encode("utf-8", "backslashreplace").decode()


class AccessLog:
    """Logs requests, one line each.

    Those refused with a 503 are limited in rate, and the next line counts the others: under load,
    writing them all would cost what storing events needs.

    Args:
        on_request: observer with route, status and duration in milliseconds of every request, also
            of those without a line.
        start_trace: finds or starts the trace of a request.
        max_refused_per_second: lines a second about requests that were refused with a 503, and as
            many about those that were denied with a 401, 403 or 429.
    """

    def __init__(
        self,
        on_request: Callable[[str, int, float], object],
        start_trace: StartTrace = sent_trace,
        max_refused_per_second: int = 100,
    ) -> None:
        self._on_request = on_request
        self._start_trace = start_trace
        self._refused = LogRateLimit("request", max_refused_per_second)
        self._denied = LogRateLimit("request", max_refused_per_second)
        self._finished: list[_Finished] = []

    def begin(
        self, headers: CIMultiDictProxy[str], method: str, path: str, route: str, client: str
    ) -> RequestContext:
        """Begin a request whose head has come.

        Args:
            headers: of the request.
            method: as sent.
            path: as sent; bytes that are not UTF-8 as lone surrogates.
            route: the pattern that the path fits; empty if there is none.
            client: the address at the other end of the connection.

        Returns:
            Its context, to be given to `finish` when it is over.
        """
        started = time.perf_counter()
        id_ = request_id(headers)
        trace = notify(self._start_trace, headers, id_, method, path, route)
        user_agent = headers.get(_USER_AGENT, "")[:_MAX_USER_AGENT_CHARACTERS]
        return RequestContext(id_, method, path, route, client, user_agent, started, trace)

    def opened(self, context: RequestContext, fields: Mapping[str, object]) -> None:
        """Log that a stream is open, which may last for minutes before its request is over.

        Args:
            context: of the request.
            fields: more of its log line.
        """
        notify(_log_opened, context, fields)

    def finish(
        self,
        context: RequestContext,
        status: int,
        summary: PublishSummary | None = None,
        *,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        """Log one request that is over, in the next turn of the event loop.

        The answers of a batch leave together then: lines between them would keep each reader
        waiting for those before it.

        Args:
            context: of the request.
            status: of the answer; 0 if there was none, because the client had gone or the drain
                timeout was exceeded.
            summary: the counts of a publish that was stored.
            fields: more of its log line.
        """
        duration_ms = (time.perf_counter() - context.started) * 1000
        self._finished.append(_Finished(context, status, duration_ms, summary, fields))
        if len(self._finished) == 1:
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        finished, self._finished = self._finished, []
        at = timestamp()
        # Looked up once: structlog makes a logger each time.
        info = _log.info
        for each in finished:
            # One of these that fails must cost neither the others nor the requests behind it.
            try:
                self._on_request(each.context.route, each.status, each.duration_ms)
            except Exception as error:  # noqa: BLE001
                log_failure(self._on_request, error)
            try:
                self._line(each, at, info)
            except Exception as error:  # noqa: BLE001
                log_failure(self._line, error)
            if (trace := each.context.trace) is not None:
                try:
                    trace.end(each.status, each.duration_ms, each.summary)
                except Exception as error:  # noqa: BLE001
                    log_failure(trace.end, error)

    def _line(self, finished: "_Finished", at: str, info: Callable[..., object]) -> None:
        context, summary = finished.context, finished.summary
        agent = context.user_agent
        counts: Mapping[str, object] = finished.fields or {}
        if finished.status == _REFUSED or "unavailable" in counts:
            limited = self._refused.fields()
            if limited is None:
                return
            counts = {**counts, **limited}
        elif finished.status in _DENIED:
            limited = self._denied.fields()
            if limited is None:
                return
            counts = {**counts, **limited}
        elif summary is not None:
            counts = {
                "received": summary.received,
                "unique_processed": summary.unique_processed,
                "duplicate_dropped": summary.duplicate_dropped,
                "conflicts": summary.conflicts,
            }
        if context.entry:
            counts = {"entry": context.entry, **counts}
        if context.route in {WAITS_PATH, LEASE_WAITS_PATH}:
            # Its duration says nothing of how long reads take.
            counts = {**counts, "wait": True}
        info(
            "request",
            **context.log_fields,
            method=context.method,
            path=context.path if context.path.isascii() else _printable(context.path),
            status=finished.status,
            duration_ms=round(finished.duration_ms, 3),
            client=context.client,
            user_agent=agent if agent.isascii() else _printable(agent),
            timestamp=at,
            **counts,
        )


def _log_opened(context: RequestContext, fields: Mapping[str, object]) -> None:
    path = context.path if context.path.isascii() else _printable(context.path)
    if context.entry:
        fields = {"entry": context.entry, **fields}
    _log.info("stream_opened", **context.log_fields, path=path, client=context.client, **fields)


class _Finished(msgspec.Struct, frozen=True, gc=False):
    context: RequestContext
    status: int
    duration_ms: float
    summary: PublishSummary | None
    fields: Mapping[str, object] | None
