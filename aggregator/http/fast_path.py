"""The fast path: publishes that need nothing special, answered without a request object.

What aiohttp does for each request, a task, a request object, routing, a response, costs several
times what storing one event does, and when far more is sent than can be taken it is what the
process is busy with. So a publish that came in whole, on a connection that owes no other answer,
is dealt with as soon as it is parsed. Whatever is less plain goes the normal way, with the same
outcome.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from functools import cache, lru_cache, partial
from http import HTTPStatus

from aiohttp import HttpVersion11
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from msgspec.structs import replace
from multidict import istr

from aggregator.access.gate import Gate
from aggregator.access.needs import Need
from aggregator.http.browser_guard import looks_like_a_browsers
from aggregator.http.problem_details import CONTENT_TYPE, foreseen_problem, unforeseen_problem
from aggregator.ingest.publish_service import PublishResponse, PublishService
from aggregator.observability.access_log import AccessLog
from aggregator.request_context import RequestContext
from aggregator.wire.responses import PublishSummary

_MAX_BODY_BYTES = 64 * 1024
"""aiohttp stops reading a connection that holds more, and larger bodies take long to parse."""

_EXPECT = istr("Expect")
_AUTHORIZATION = istr("Authorization")

Reply = Callable[[RequestContext, bytes], bool]
"""Called exactly once with the request context and the serialized response; returns False if
nobody is there to be answered."""


class FastPath:
    """Answers plain publishes as soon as they are parsed.

    Args:
        publish_service: accepts them.
        log: the access log.
        gate: lets requests in.
    """

    def __init__(self, publish_service: PublishService, log: AccessLog, gate: Gate) -> None:
        self._publish_service = publish_service
        self._log = log
        self._gate = gate

    def handle(
        self,
        message: RawRequestMessage,
        body: StreamReader,
        reply: Reply,
        client: str,
        certificate_names: Sequence[str] = (),
    ) -> bool:
        """Answer a request, if it is a plain publish.

        Args:
            message: the only request that its connection has to answer.
            body: as far as it has come in.
            reply: called with the answer, before this returns or later.
            client: the address at the other end of its connection.
            certificate_names: names in its client's certificate, verified.

        Returns:
            Whether it is one; `reply` is called for no other.
        """
        service = self._publish_service
        if (
            message.path != "/publish"
            or message.method != "POST"
            or message.version != HttpVersion11
            or message.should_close
            or _EXPECT in message.headers
            or not body.is_eof()
            or body.total_bytes > min(_MAX_BODY_BYTES, service.limits.max_body_bytes)
            or looks_like_a_browsers(message.headers)
        ):
            return False
        name = ""
        try:
            identity = self._gate.let_in(
                Need.PUBLISH, message.headers.getall(_AUTHORIZATION, ()), certificate_names
            )
            name = identity.name
            publish = service.begin(message.headers, identity)
        except Exception as error:  # noqa: BLE001 - no input may end without an answer
            self._respond(self._begin(message, client, name), reply, error)
            return True
        if publish.form.gzip:
            return False
        # Not before: a request begins once, and on the normal way it begins there.
        context = self._begin(message, client, name)
        publish.submit(body.read_nowait(), context, partial(self._respond, context, reply))
        return True

    def _begin(self, message: RawRequestMessage, client: str, entry: str) -> RequestContext:
        context = self._log.begin(message.headers, "POST", "/publish", "/publish", client)
        return replace(context, entry=entry) if entry else context

    def _respond(
        self, context: RequestContext, reply: Reply, outcome: PublishResponse | Exception
    ) -> None:
        summary: PublishSummary | None = None
        headers: Mapping[str, str]
        if isinstance(outcome, PublishResponse):
            status, content_type = HTTPStatus.OK, "application/json"
            summary, content, headers = outcome
        else:
            problem = foreseen_problem(outcome) or unforeseen_problem(outcome, context)
            content_type = CONTENT_TYPE
            status, content, headers = problem
        more = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = (
            f"{_status_line(status)}{more}Content-Type: {content_type}\r\n"
            f"X-Request-ID: {context.id}\r\nContent-Length: {len(content)}\r\n"
            f"{_same_for_all(int(time.time()))}\r\n"
        )
        answered = reply(context, head.encode() + content)
        self._log.finish(context, int(status) if answered else 0, summary)


@cache
def _status_line(status: HTTPStatus) -> str:
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n"


@lru_cache(1)
def _same_for_all(now_s: int) -> str:
    return f"Date: {formatdate(now_s, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n"
