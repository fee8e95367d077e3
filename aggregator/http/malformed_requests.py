"""Requests that are no HTTP, as short log lines at a bounded rate.

aiohttp logs each as an error with a traceback. They are no faults of this process, and a client
that sends them sends many.
"""

import logging
from typing import Any

import structlog
from aiohttp import http_exceptions as http
from aiohttp.log import server_logger
from aiohttp.web import RequestPayloadError

from aggregator.logging.rate_limit import LogRateLimit

MAX_LINES_PER_SECOND = 10

_MALFORMED = (http.HttpProcessingError, RequestPayloadError)

# Those whose own words may be what was sent.
_REASONS: dict[type[BaseException], str] = {
    http.InvalidURLError: "the target is no URL",
    http.LineTooLong: "a line of its head is too long",
    http.InvalidHeader: "a header can't be read",
    http.BadStatusLine: "its first line can't be read",
    http.PayloadEncodingError: "its body is not sent as its head says",
    RequestPayloadError: "its body is not sent as its head says",
}

_log = structlog.get_logger()


def log_malformed_requests() -> None:
    """Log malformed requests as `malformed_request` from now on, in place of aiohttp's errors."""
    for each in list(server_logger.filters):
        if isinstance(each, _MalformedRequests):
            server_logger.removeFilter(each)
    server_logger.addFilter(_MalformedRequests())


class _MalformedRequests(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._rate_limit = LogRateLimit("malformed_request", MAX_LINES_PER_SECOND)

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, _MALFORMED):
            return True
        more = self._rate_limit.fields()
        if more is not None:
            fields: dict[str, Any] = {"reason": _reason(error), **more}
            if isinstance(record.args, tuple) and record.args:
                fields["client"] = record.args[0]
            _log.info("malformed_request", **fields)
        return False


def _reason(error: BaseException) -> str:
    """What is wrong with a request, without a byte of it: it may hold what no log may show."""
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason
    # aiohttp's or its parser's own words; what was sent follows behind a colon.
    return str(getattr(error, "message", "")).partition("\n")[0].partition(":")[0][:100]
