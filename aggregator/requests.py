"""Around every request: its id, its log line, and its errors as problem+json."""

from collections.abc import Awaitable, Callable
from typing import cast

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from aggregator.asked import Asked
from aggregator.problems import problem, unforeseen
from aggregator.request_log import RequestLog
from aggregator.sending import Answers
from aggregator.wire.answers import PublishSummary

ASKED = web.RequestKey("asked", Asked)
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
        asked = request[ASKED] = log.begin(
            request.headers, request.method, request.rel_url.raw_path, _route(request)
        )
        status = 0
        try:
            # Every handler here is one of these.
            response = await _answered(request, cast("Answering", handler))
            response.headers["X-Request-ID"] = asked.id
            status = response.status
            return await answers.send(request, asked, response)
        finally:
            log.note(asked, status, request.get(SUMMARY))

    return around_request


async def _answered(request: web.Request, handler: Answering) -> web.Response:
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - no input may end without an answer
        response = problem(error, request)
        if response is None:
            _log.exception("request_failed", **request[ASKED].names)
            response = unforeseen().response()
        return response


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical
