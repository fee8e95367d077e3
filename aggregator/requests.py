"""Around every request: its id, its log line, and its errors as problem+json."""

import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import cast

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from aggregator.problems import problem, unforeseen
from aggregator.sending import Answers
from aggregator.wire.answers import PublishSummary

REQUEST_ID = web.RequestKey("request_id", str)
SUMMARY = web.RequestKey("summary", PublishSummary)

_USABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_log = structlog.get_logger()


Answering = Callable[[web.Request], Awaitable[web.Response]]
"""A handler that does no more than answer: how the answer is sent is decided here."""


def around_requests(answers: Answers) -> Middleware:
    """What answers every request, whatever is raised, and logs one line about it.

    The id is the sender's `X-Request-ID` if it is 1 to 128 printable ASCII characters without
    spaces, else a new one; it goes back in the same header. The duration that is logged ends
    when the kernel has all of the answer.
    """

    @web.middleware
    async def around_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        sent_id = request.headers.get("X-Request-ID", "")
        request_id = sent_id if _USABLE_ID.fullmatch(sent_id) else uuid.uuid4().hex
        request[REQUEST_ID] = request_id
        status = 0
        try:
            # Every handler here is one of these.
            response = await _answered(request, cast("Answering", handler))
            response.headers["X-Request-ID"] = request_id
            status = response.status
            return await answers.send(request, request_id, response)
        finally:
            # No status: the handler was cancelled, at the end of the time for draining.
            _log_request(request, request_id, status, (time.perf_counter() - started) * 1000)

    return around_request


async def _answered(request: web.Request, handler: Answering) -> web.Response:
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - no input may end without an answer
        response = problem(error, request)
        if response is None:
            _log.exception("request_failed", request_id=request[REQUEST_ID])
            response = unforeseen()
        return response


def _log_request(request: web.Request, request_id: str, status: int, duration_ms: float) -> None:
    summary = request.get(SUMMARY)
    counts = (
        {
            "received": summary.received,
            "unique_processed": summary.unique_processed,
            "duplicate_dropped": summary.duplicate_dropped,
            "conflicts": summary.conflicts,
        }
        if summary is not None
        else {}
    )
    _log.info(
        "request",
        request_id=request_id,
        method=request.method,
        # As sent; bytes that are not UTF-8 come as lone surrogates, which JSON can't hold.
        path=request.rel_url.raw_path.encode("utf-8", "backslashreplace").decode(),
        status=status,
        duration_ms=round(duration_ms, 3),
        **counts,
    )
