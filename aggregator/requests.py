"""Around every request: its id, its log line, and its errors as problem+json."""

import time
from collections.abc import Awaitable, Callable
from typing import cast

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from aggregator.problems import problem, unforeseen
from aggregator.request_log import RequestLog, request_id
from aggregator.sending import Answers
from aggregator.wire.answers import PublishSummary

REQUEST_ID = web.RequestKey("request_id", str)
SUMMARY = web.RequestKey("summary", PublishSummary)

_log = structlog.get_logger()


Answering = Callable[[web.Request], Awaitable[web.Response]]
"""A handler that does no more than answer: how the answer is sent is decided here."""


def around_requests(answers: Answers, log: RequestLog) -> Middleware:
    """What answers every request, whatever is raised, and logs one line about it.

    The id goes back in `X-Request-ID`. The duration that is logged ends when the kernel has all
    of the answer.
    """

    @web.middleware
    async def around_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        id_ = request[REQUEST_ID] = request_id(request.headers)
        status = 0
        try:
            # Every handler here is one of these.
            response = await _answered(request, cast("Answering", handler))
            response.headers["X-Request-ID"] = id_
            status = response.status
            return await answers.send(request, id_, response)
        finally:
            log.note(
                request_id=id_,
                method=request.method,
                path=request.rel_url.raw_path,
                status=status,
                duration_ms=(time.perf_counter() - started) * 1000,
                summary=request.get(SUMMARY),
            )

    return around_request


async def _answered(request: web.Request, handler: Answering) -> web.Response:
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - no input may end without an answer
        response = problem(error, request)
        if response is None:
            _log.exception("request_failed", request_id=request[REQUEST_ID])
            response = unforeseen().response()
        return response
