"""The line that every request leaves in the log, and the id that it is found by."""

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec
import structlog
from multidict import CIMultiDictProxy, istr

from aggregator.log.observers import log_failure, notify
from aggregator.log.rate_limit import LogRateLimit
from aggregator.log.setup import timestamp
from aggregator.request_context import RequestContext, Trace, sent_trace
from aggregator.wire.responses import PublishSummary

_USABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_REFUSED = int(HTTPStatus.SERVICE_UNAVAILABLE)
_USER_AGENT = istr("User-Agent")
_MAX_USER_AGENT_CHARACTERS = 100
_log = structlog.get_logger()


def request_id(headers: Mapping[str, str]) -> str:
    """The sender's `X-Request-ID` if it is 1 to 128 printable ASCII characters, else a new one."""
    sent = headers.get("X-Request-ID", "")
    return sent if sent and _USABLE_ID.fullmatch(sent) else os.urandom(16).hex()


def _printable(text: str) -> str:
    """The text without lone surrogates, which JSON can't hold."""
    return text.encode("utf-8", "backslashreplace").decode()


class AccessLog:
    """Logs requests, one line each.

    Of those refused with a 503 at most `refused_per_second` a second, and the next line counts
    the others: under load, writing them all would cost what storing events needs.

    Args:
        on_request: told route, status and duration in milliseconds of every request, also of
            those without a line.
        trace: what finds the trace of a request.
        refused_per_second: see above.
    """

    def __init__(
        self,
        on_request: Callable[[str, int, float], object],
        trace: Trace = sent_trace,
        refused_per_second: int = 100,
    ) -> None:
        self._on_request = on_request
        self._trace = trace
        self._refused = LogRateLimit("request", refused_per_second)
        self._noted: list[_Noted] = []

    def begin(
        self, headers: CIMultiDictProxy[str], method: str, path: str, route: str, client: str
    ) -> RequestContext:
        """A request whose head has come, to be given to `note` when it is over.

        Args:
            path: as sent; bytes that are not UTF-8 as lone surrogates.
            route: the pattern that the path fits; empty if there is none.
            client: the address at the other end of the connection.
        """
        started = time.perf_counter()
        id_ = request_id(headers)
        traced = notify(self._trace, headers, id_, method, path, route)
        user_agent = headers.get(_USER_AGENT, "")[:_MAX_USER_AGENT_CHARACTERS]
        return RequestContext(id_, method, path, route, client, user_agent, started, traced)

    def note(
        self, context: RequestContext, status: int, summary: PublishSummary | None = None
    ) -> None:
        """Log one request that is over, as soon as the event loop has done what it is at.

        The answers of a batch leave together then: lines between them would keep each reader
        waiting for those before it.

        Args:
            status: of the answer; 0 if there was none, for the client had gone or the time for
                draining was over.
            summary: what became of a publish.
        """
        duration_ms = (time.perf_counter() - context.started) * 1000
        self._noted.append(_Noted(context, status, duration_ms, summary))
        if len(self._noted) == 1:
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        noted, self._noted = self._noted, []
        at = timestamp()
        # Looked up once: structlog makes a logger each time.
        info = _log.info
        for each in noted:
            # One of these that fails must cost neither the others nor the requests behind it.
            try:
                self._on_request(each.context.route, each.status, each.duration_ms)
            except Exception as error:  # noqa: BLE001
                log_failure(self._on_request, error)
            try:
                self._line(each, at, info)
            except Exception as error:  # noqa: BLE001
                log_failure(self._line, error)
            if (traced := each.context.traced) is not None:
                try:
                    traced.end(each.status, each.duration_ms, each.summary)
                except Exception as error:  # noqa: BLE001
                    log_failure(traced.end, error)

    def _line(self, noted: "_Noted", at: str, info: Callable[..., object]) -> None:
        context, summary = noted.context, noted.summary
        agent = context.user_agent
        counts: dict[str, int] | None = {}
        if noted.status == _REFUSED:
            counts = self._refused.fields()
        elif summary is not None:
            counts = {
                "received": summary.received,
                "unique_processed": summary.unique_processed,
                "duplicate_dropped": summary.duplicate_dropped,
                "conflicts": summary.conflicts,
            }
        if counts is None:
            return
        info(
            "request",
            **context.names,
            method=context.method,
            path=context.path if context.path.isascii() else _printable(context.path),
            status=noted.status,
            duration_ms=round(noted.duration_ms, 3),
            client=context.client,
            user_agent=agent if agent.isascii() else _printable(agent),
            timestamp=at,
            **counts,
        )


class _Noted(msgspec.Struct, frozen=True, gc=False):
    context: RequestContext
    status: int
    duration_ms: float
    summary: PublishSummary | None
