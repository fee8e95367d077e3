"""Publishes that need nothing special, from aiohttp's parser to the answer without a request.

What aiohttp does for each request, a task, a request object, routing, a response, costs several
times what storing one event does, and when far more is sent than can be taken it is what the
process is busy with. So a publish that came in whole, on a connection that owes no other answer,
is dealt with as soon as it is parsed. Whatever is less plain goes the usual way, with the same
outcome.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import cache, lru_cache
from http import HTTPStatus

import structlog
from aiohttp import HttpVersion11
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from multidict import istr

from aggregator.http.problem_details import CONTENT_TYPE, foreseen_problem, unforeseen
from aggregator.ingest.admission import Reservation
from aggregator.ingest.publish_service import Form, PublishService, form_of
from aggregator.observability.access_log import AccessLog
from aggregator.request_context import RequestContext
from aggregator.wire.publish_body import Batch
from aggregator.wire.responses import PublishSummary
from storage.model import Verdict

_MAX_BODY_BYTES = 64 * 1024
"""aiohttp stops reading a connection that holds more, and larger bodies take long to parse."""

_EXPECT = istr("Expect")

Reply = Callable[[RequestContext, bytes], bool]
"""Told a request and the bytes of its answer, once; False if nobody is there to be answered."""

_log = structlog.get_logger()


class FastPath:
    """The short way of a publish.

    Args:
        publishing: what is done with publishes.
        log: where they are noted.
    """

    def __init__(self, publish_service: PublishService, log: AccessLog) -> None:
        self._publish_service = publish_service
        self._log = log

    def take(
        self, message: RawRequestMessage, body: StreamReader, reply: Reply, client: str
    ) -> bool:
        """Deal with a request, if it is such a publish.

        Args:
            message: the only request that its connection has to answer.
            body: as far as it has come in.
            reply: called with the answer, before this returns or later.
            client: the address at the other end of its connection.
        """
        if (
            message.path != "/publish"
            or message.method != "POST"
            or message.version != HttpVersion11
            or message.should_close
            or _EXPECT in message.headers
            or not body.is_eof()
            or body.total_bytes > min(_MAX_BODY_BYTES, self._publish_service.limits.max_body_bytes)
        ):
            return False
        try:
            self._publish_service.check_taking()
            form = form_of(message.headers)
        except Exception as error:  # noqa: BLE001 - no input may end without an answer
            self._publish(message, reply, client).fail(error)
            return True
        if form.gzip:
            return False
        # Not before: a request begins once, and the usual way has it begin itself.
        publish = self._publish(message, reply, client)
        try:
            publish.begin(body.read_nowait(), form)
        except Exception as error:  # noqa: BLE001 - no input may end without an answer
            publish.fail(error)
        return True

    def _publish(self, message: RawRequestMessage, reply: Reply, client: str) -> "_Publish":
        context = self._log.begin(message.headers, "POST", "/publish", "/publish", client)
        return _Publish(self._publish_service, self._log, context, reply)


class _Publish:
    """One of them. It is answered once, whatever is raised: what sends is in no `try`."""

    def __init__(
        self, publish_service: PublishService, log: AccessLog, context: RequestContext, reply: Reply
    ) -> None:
        self._publish_service = publish_service
        self._log = log
        self._context = context
        self._reply = reply

    def begin(self, body: bytes, form: Form) -> None:
        reservation = self._publish_service.reservation()
        try:
            reservation.take(size=len(body))
            batch = self._publish_service.parse(body, form)
            reservation.take(events=len(batch.events))
            stored = self._publish_service.store(batch.events, len(body), self._context)
        except BaseException:
            reservation.give_back()
            raise
        stored.add_done_callback(lambda done: self._settle(done, reservation, form, batch))

    def fail(self, error: Exception) -> None:
        problem = foreseen_problem(error)
        if problem is None:
            _log.error("request_failed", exc_info=error, **self._context.names)
            problem = unforeseen()
        self._send(problem.status, CONTENT_TYPE, problem.headers, problem.content)

    def _settle(
        self,
        done: asyncio.Future[list[Verdict]],
        reservation: Reservation,
        form: Form,
        batch: Batch,
    ) -> None:
        reservation.give_back()
        try:
            told = self._publish_service.answer(form, batch, done.result(), self._context)
        except Exception as error:  # noqa: BLE001 - no input may end without an answer
            self.fail(error)
        else:
            self._send(HTTPStatus.OK, "application/json", told.headers, told.body, told.summary)

    def _send(
        self,
        status: HTTPStatus,
        content_type: str,
        headers: Mapping[str, str],
        content: bytes,
        summary: PublishSummary | None = None,
    ) -> None:
        more = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = (
            f"{_status_line(status)}{more}Content-Type: {content_type}\r\n"
            f"X-Request-ID: {self._context.id}\r\nContent-Length: {len(content)}\r\n"
            f"{_same_for_all(int(time.time()))}\r\n"
        )
        answered = self._reply(self._context, head.encode() + content)
        self._log.note(self._context, int(status) if answered else 0, summary)


@cache
def _status_line(status: HTTPStatus) -> str:
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n"


@lru_cache(1)
def _same_for_all(now_s: int) -> str:
    return f"Date: {formatdate(now_s, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n"
