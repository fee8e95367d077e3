"""The middleware around every request: its context, its log line, its errors as problem details."""

from http import HTTPStatus

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler, Middleware
from msgspec.structs import replace

from aggregator.access.authority import Unauthorized
from aggregator.access.errors import Forbidden
from aggregator.http.live_response import LiveResponse, UnavailableStream
from aggregator.http.ndjson import StreamedResponse
from aggregator.http.problem_details import foreseen_problem, http_problem, unforeseen_problem
from aggregator.http.response_sender import ResponseSender
from aggregator.http.rights import BROWSER_GUARD, IDENTITY, arrival_of, let_in
from aggregator.observability.access_log import AccessLog
from aggregator.observability.labels import STREAMS_PATH
from aggregator.request_context import RequestContext
from aggregator.wire.responses import PublishSummary

REQUEST_CONTEXT = web.RequestKey("request_context", RequestContext)
SUMMARY = web.RequestKey("summary", PublishSummary)


def around_requests(sender: ResponseSender, log: AccessLog) -> Middleware:
    """Return the middleware that answers every request, whatever is raised, and logs one line.

    The id goes back in `X-Request-ID`. The duration that is logged ends when the kernel has all
    of the answer.
    """

    @web.middleware
    async def around_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[REQUEST_CONTEXT] = log.begin(
            request.headers,
            request.method,
            request.rel_url.raw_path,
            await _route(request),
            request.remote or "",
        )
        status = 0
        fields: dict[str, object] = {}
        try:
            response = await _answered(request, handler)
            # With the name of who it comes from, once that is known.
            context = request[REQUEST_CONTEXT]
            response.headers["X-Request-ID"] = context.id
            response.headers.update(
                request.app[BROWSER_GUARD].answer_headers(
                    request.headers, response.headers.get(hdrs.VARY, "")
                )
            )
            if isinstance(response, LiveResponse):
                log.opened(context, response.opened_fields())
            sent, complete = await sender.send(request, context, response)
            if complete or (isinstance(response, LiveResponse) and response.prepared):
                status = response.status
            if isinstance(response, (StreamedResponse, LiveResponse)):
                # How long it lasts says nothing of how long reads take.
                request[REQUEST_CONTEXT] = replace(request[REQUEST_CONTEXT], route=STREAMS_PATH)
                fields = response.log_fields(complete=complete)
            elif isinstance(response, UnavailableStream):
                fields = {"unavailable": response.reason_given}
            return sent
        finally:
            # A handler may have given it another route.
            log.finish(request[REQUEST_CONTEXT], status, request.get(SUMMARY), fields=fields)

    return around_request


async def send_continue(request: web.Request) -> None:
    """Tell a client that waits with its body to send it; an expect handler of aiohttp's routes.

    Any other expectation, and who may not send it at all, is refused where every request is
    answered, not here.
    """
    try:
        let_in(request)
    except (Unauthorized, Forbidden):
        return
    if request.version == HttpVersion11 and _expects_continue(request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # It is none of the answer.
        request.writer.output_size = 0


def _expects_continue(request: web.Request) -> bool:
    return request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        granted = request.app[BROWSER_GUARD].preflight(arrival_of(request), request.headers)
        if granted is not None:
            return web.Response(status=HTTPStatus.NO_CONTENT, headers=granted)
        identity = request[IDENTITY] = let_in(request)
        if identity.name:
            context = request[REQUEST_CONTEXT]
            request[REQUEST_CONTEXT] = replace(context, entry=identity.name)
        if hdrs.EXPECT in request.headers and request.version == HttpVersion11:
            _check_expectation(request)
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - no input may end without an answer
        problem = (
            foreseen_problem(error)
            or http_problem(error, request.method)
            or unforeseen_problem(error, request[REQUEST_CONTEXT])
        )
        return problem.response()


def _check_expectation(request: web.Request) -> None:
    if request.headers[hdrs.EXPECT] and not _expects_continue(request):
        raise web.HTTPExpectationFailed(
            reason="the only expectation that is met is 100-continue; send the request without"
        )


async def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    if resource is not None:
        return resource.canonical
    for each in request.app.router.resources():
        _, methods = await each.resolve(request)
        if methods:
            # The path is one of ours, with another method.
            return each.canonical
    return ""
