"""A batch is sent until it is answered for, over real connections to a server that misbehaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from publisher.client import Counts, PublishGaveUp, PublishRefused, RetryPolicy, publish_batch

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY = b'{"event_id": "a"}\n{"event_id": "b"}\n'
COUNTS = {"received": 2, "unique_processed": 1, "duplicate_dropped": 1, "conflicts": 0}
PATIENT = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=60.0)
HASTY = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=1.0)


def answers(
    status: int,
    body: object = None,
    *,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> Answer:
    """Answer with a status and a body: text as it is, anything else as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(
            status=status, text=text, content_type=content_type, headers=headers or {}
        )

    return answer


def busy(retry_after: str | None = None) -> Answer:
    return answers(
        503,
        {"title": "Service Unavailable", "status": 503, "detail": "the queue is full"},
        content_type="application/problem+json",
        headers={} if retry_after is None else {"Retry-After": retry_after},
    )


async def cuts_the_connection(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def cuts_the_answer(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "500"})
    await response.prepare(request)
    await response.write(b'{"received": 2,')
    assert request.transport is not None
    request.transport.close()
    return response


OK = answers(200, COUNTS)


class Server:
    """Gives its answers one after another, the last one for ever, and keeps what it was sent."""

    def __init__(self, script: Sequence[Answer]) -> None:
        self.script = list(script)
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def publish(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await answer(request)


@asynccontextmanager
async def serving(*script: Answer) -> AsyncIterator[Server]:
    scripted = Server(script)
    app = web.Application()
    app.router.add_post("/prefix/publish", scripted.publish)
    async with TestServer(app) as server:
        scripted.url = str(server.make_url("/prefix"))
        yield scripted


async def publish(
    url: str, policy: RetryPolicy = PATIENT, failures: list[str] | None = None
) -> Counts:
    told = [] if failures is None else failures
    async with aiohttp.ClientSession() as session:
        return await publish_batch(session, url, BODY, 2, policy=policy, on_retry=told.append)


async def test_a_batch_is_sent_as_the_contract_has_it() -> None:
    async with serving(OK) as server:
        assert await publish(f"{server.url}/") == Counts(2, 1, 1, 0)
    assert server.bodies == [BODY]
    assert server.headers[0]["Content-Type"] == "application/x-ndjson"
    assert server.headers[0]["Prefer"] == "return=minimal"


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (busy(), "503 the queue is full"),
        (busy("1"), "503 the queue is full (Retry-After: 1 s)"),
        (busy("0"), "503 the queue is full"),
        (busy("soon"), "503 the queue is full"),
        (busy("-1"), "503 the queue is full"),
        (busy("Sun, 06 Nov 1994 08:49:37 GMT"), "503 the queue is full"),
        (answers(429, "slow down", content_type="text/plain"), "429 slow down"),
        (answers(502, "<html>", content_type="text/html"), "502 Bad Gateway"),
        (answers(504, ""), "504 Gateway Timeout"),
        (cuts_the_connection, "the connection was lost: Server disconnected"),
        (cuts_the_answer, "the answer was cut short"),
        (answers(200, '{"received": 2, "uni'), "the answer was cut short"),
        (answers(200, ""), "the answer was cut short"),
    ],
)
async def test_what_may_pass_is_tried_again(failure: Answer, told: str) -> None:
    failures: list[str] = []
    async with serving(failure, failure, OK) as server:
        assert await publish(server.url, failures=failures) == Counts(2, 1, 1, 0)
    assert server.bodies == [BODY] * 3
    assert failures == [told] * 2


async def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    released = asyncio.Event()

    async def hangs(request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    policy = RetryPolicy(first_wait_s=0.001, deadline_s=60.0, attempt_timeout_s=0.1)
    failures: list[str] = []
    async with serving(hangs, OK) as server:
        try:
            assert await publish(server.url, policy, failures) == Counts(2, 1, 1, 0)
        finally:
            released.set()
    assert failures[0] == "no answer within 0.1 s"


PROBLEM = {
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "1 of 2 events is invalid",
    "errors": [
        {"index": 1, "field": "timestamp", "message": "is not\na date-time"},
        {"index": 2, "field": "source", "message": "is empty"},
    ],
}


@pytest.mark.parametrize(
    ("refusal", "status", "detail"),
    [
        (
            answers(422, PROBLEM, content_type="application/problem+json"),
            422,
            "1 of 2 events is invalid (event 1 of the batch, timestamp: is not a date-time)",
        ),
        (answers(400, {"title": "Not JSON"}), 400, "Not JSON"),
        (answers(400, {"title": 7}), 400, "Bad Request"),
        (answers(404, "404: Not Found", content_type="text/plain"), 404, "404: Not Found"),
        (answers(413, "<html>", content_type="text/html"), 413, HTTPStatus(413).phrase),
        (answers(408, ""), 408, "Request Timeout"),
        (answers(500, "oops " * 100, content_type="text/plain"), 500, "oops " * 40 + "…"),
        (answers(501, "{}"), 501, "Not Implemented"),
        (answers(201, COUNTS), 201, "Created"),
        (
            answers(307, "", headers={"Location": "http://elsewhere/publish"}),
            307,
            "Temporary Redirect, moved to http://elsewhere/publish",
        ),
        (answers(200, "<html>"), 200, "not that of an aggregator (no JSON)"),
        (answers(200, "[]"), 200, "not that of an aggregator (Expected `object`, got `array`)"),
        (
            answers(200, {**COUNTS, "received": 1}),
            200,
            "1 events received, but 2 were sent",
        ),
    ],
)
async def test_what_another_try_would_not_change_is_an_error_at_once(
    refusal: Answer, status: int, detail: str
) -> None:
    async with serving(refusal, OK) as server:
        with pytest.raises(PublishRefused) as refused:
            await publish(server.url)
    assert len(server.bodies) == 1
    assert refused.value.status == status
    assert refused.value.detail == detail
    assert str(refused.value) == f"the answer is {status}: {detail}"


async def test_a_peer_that_does_not_speak_http() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY)
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PublishRefused, match="the answer is not HTTP: ") as refused:
            await publish(f"http://127.0.0.1:{port}")
    assert refused.value.status is None


@pytest.mark.parametrize(
    "asked",
    ["3600", "9" * 5000, format_datetime(datetime.now(UTC) + timedelta(days=9), usegmt=True)],
    ids=["seconds", "very many seconds", "date"],
)
async def test_the_wait_is_never_shorter_than_asked_for(asked: str) -> None:
    # Nothing else than Retry-After could make the next try fall behind so long a deadline.
    async with serving(busy(asked), OK) as server:
        with pytest.raises(PublishGaveUp, match="the queue is full") as gave_up:
            await publish(server.url)
    assert gave_up.value.attempts == len(server.bodies) == 1


async def test_a_batch_is_given_up_at_its_deadline() -> None:
    failures: list[str] = []
    async with serving(busy()) as server:
        with pytest.raises(PublishGaveUp) as gave_up:
            await publish(server.url, HASTY, failures)
    assert gave_up.value.attempts == len(failures) + 1
    assert str(gave_up.value).startswith("gave up after ")
    assert str(gave_up.value).endswith("the last failure: 503 the queue is full")


async def test_nobody_listens() -> None:
    port = unused_port()
    with pytest.raises(PublishGaveUp) as gave_up:
        await publish(f"http://127.0.0.1:{port}", HASTY)
    expected = f"cannot connect to 127.0.0.1:{port}: Connection refused"
    assert gave_up.value.last_failure == expected


async def test_an_aggregator_that_comes_up_late() -> None:
    app = web.Application()
    app.router.add_post("/publish", OK)
    server = TestServer(app, port=unused_port())
    starting: list[asyncio.Task[None]] = []

    def start(failure: str) -> None:
        if not starting:
            starting.append(asyncio.create_task(server.start_server()))

    try:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{server.port}"
            counts = await publish_batch(session, url, BODY, 2, policy=PATIENT, on_retry=start)
    finally:
        await server.close()
    assert counts == Counts(2, 1, 1, 0)
    assert starting
