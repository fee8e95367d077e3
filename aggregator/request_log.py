"""The line that every request leaves in the log, and the id that it is found by."""

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec
import structlog
from multidict import CIMultiDictProxy

from aggregator.asked import Asked, Trace, sent_trace
from aggregator.logs import timestamp
from aggregator.sparing import Sparing
from aggregator.wire.answers import PublishSummary

_USABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_REFUSED = int(HTTPStatus.SERVICE_UNAVAILABLE)
_log = structlog.get_logger()


def request_id(headers: Mapping[str, str]) -> str:
    """The sender's `X-Request-ID` if it is 1 to 128 printable ASCII characters, else a new one."""
    sent = headers.get("X-Request-ID", "")
    return sent if sent and _USABLE_ID.fullmatch(sent) else os.urandom(16).hex()


class RequestLog:
    """Logs requests, one line each.

    Of those refused with a 503 at most `refused_per_second` a second, and the next line counts
    the others: under load, writing them all would cost what storing events needs.

    Args:
        on_request: told path, status and duration in milliseconds of every request, also of those
            without a line.
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
        self._refused = Sparing(refused_per_second)
        self._noted: list[_Noted] = []

    def begin(self, headers: CIMultiDictProxy[str], method: str, path: str, route: str) -> Asked:
        """A request whose head has come, to be given to `note` when it is over.

        Args:
            path: as sent; bytes that are not UTF-8 as lone surrogates.
            route: the pattern that the path fits; empty if there is none.
        """
        started = time.perf_counter()
        id_ = request_id(headers)
        traced = self._trace(headers, id_, method, path, route)
        return Asked(id_, method, path, started, traced)

    def note(self, asked: Asked, status: int, summary: PublishSummary | None = None) -> None:
        """Log one request that is over, as soon as the event loop has done what it is at.

        The answers of a batch leave together then: lines between them would keep each reader
        waiting for those before it.

        Args:
            status: 0 if the handler was cancelled, at the end of the time for draining.
            summary: what became of a publish.
        """
        duration_ms = (time.perf_counter() - asked.started) * 1000
        self._noted.append(_Noted(asked, status, duration_ms, summary))
        if len(self._noted) == 1:
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        noted, self._noted = self._noted, []
        at = timestamp()
        for each in noted:
            self._on_request(each.asked.path, each.status, each.duration_ms)
            self._line(each, at)
            if each.asked.traced is not None:
                each.asked.traced.end(each.status, each.duration_ms, each.summary)

    def _line(self, noted: "_Noted", at: str) -> None:
        asked, summary = noted.asked, noted.summary
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
        path = asked.path
        if not path.isascii():
            # JSON can't hold lone surrogates.
            path = path.encode("utf-8", "backslashreplace").decode()
        _log.info(
            "request",
            **asked.names,
            method=asked.method,
            path=path,
            status=noted.status,
            duration_ms=round(noted.duration_ms, 3),
            timestamp=at,
            **counts,
        )


class _Noted(msgspec.Struct, frozen=True, gc=False):
    asked: Asked
    status: int
    duration_ms: float
    summary: PublishSummary | None
