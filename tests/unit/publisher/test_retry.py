"""A batch is sent until it is answered for, over real connections to a server that misbehaves."""

import asyncio
import logging
from importlib.metadata import version

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.delivering import BATCH, BODY, HASTY, PATIENT, STORED, publish
from support.scripted import (
    Answer,
    Gate,
    Scripted,
    answers,
    busy,
    counted,
    cuts_the_answer,
    cuts_the_connection,
    serving,
    stores_and_cuts,
    takes,
)
from support.sockets import port_of, reserved_port

from publisher.errors import PublishGaveUp, PublishRefused
from publisher.response import Outcome, Verdict
from publisher.retry import Retry, RetryPolicy, publish_batch

FOUND: list[Outcome] = [
    Verdict("orders", "a", "duplicate", 1),
    Verdict("orders", "b", "duplicate", 2),
]


async def test_request_has_the_form_of_the_contract() -> None:
    async with serving() as server:
        assert await publish(f"{server.url}/") == STORED
    assert server.bodies == [BODY]
    assert server.headers[0]["Content-Type"] == "application/x-ndjson"
    assert server.headers[0]["Prefer"] == "handling=lenient"


@pytest.mark.parametrize(
    ("failure", "told", "outcomes"),
    [
        (busy(), "503 the queue is full", STORED),
        (busy("1"), "503 the queue is full (Retry-After: 1 s)", STORED),
        (busy("0"), "503 the queue is full", STORED),
        (busy("soon"), "503 the queue is full", STORED),
        (busy("-1"), "503 the queue is full", STORED),
        (busy("Sun, 06 Nov 1994 08:49:37 GMT"), "503 the queue is full", STORED),
        (busy(f"Sun, 06 Nov {'9' * 20} 08:49:37 GMT"), "503 the queue is full", STORED),
        (busy(f"Sun, 06 Nov 1994 08:49:37 +{'9' * 20}"), "503 the queue is full", STORED),
        (answers(429, "slow down", content_type="text/plain"), "429 slow down", STORED),
        (answers(502, "<html>", content_type="text/html"), "502 Bad Gateway", STORED),
        (answers(503, b"\xff{", content_type="text/html"), "503 Service Unavailable", STORED),
        (answers(503, '{"x":' + "[" * 100_000), "503 Service Unavailable", STORED),
        (answers(504, ""), "504 Gateway Timeout", STORED),
        (cuts_the_connection, "the connection was lost: Server disconnected", STORED),
        (stores_and_cuts, "the connection was lost: Server disconnected", FOUND),
        (cuts_the_answer, "the answer was cut short", FOUND),
        (answers(200, '{"received": 2, "uni'), "the answer was cut short", STORED),
        (answers(200, ""), "the answer was cut short", STORED),
        (
            answers(200, "broken", headers={"Content-Encoding": "gzip"}),
            "the answer was cut short",
            STORED,
        ),
    ],
)
async def test_transient_failure_is_retried(
    failure: Answer, told: str, outcomes: list[Outcome]
) -> None:
    retries: list[Retry] = []
    async with serving(failure, failure) as server:
        assert await publish(server.url, told=retries) == outcomes
    assert server.bodies == [BODY] * 3
    assert [(retry.attempt, retry.events, retry.reason) for retry in retries] == [
        (1, 2, told),
        (2, 2, told),
    ]
    assert all(retry.may_be_stored for retry in retries)


async def test_attempt_without_response_times_out_and_is_retried() -> None:
    gate = Gate()
    policy = RetryPolicy(first_wait_s=0.001, deadline_s=60.0, attempt_timeout_s=0.1)
    retries: list[Retry] = []
    async with serving(gate) as server:
        assert await publish(server.url, policy, retries) == STORED
        gate.open()
    assert retries[0].reason == "no answer within 0.1 s"
    assert retries[0].may_be_stored


PROBLEM = {
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "1 of 2 events is invalid",
    "errors": [
        {"index": 1, "field": "timestamp", "message": "is not\na date-time"},
        {"index": 2, "field": "source", "message": "is empty"},
    ],
}
ELSEWHERE = {"Location": "http://elsewhere/publish"}


@pytest.mark.parametrize(
    ("refusal", "status", "detail", "may_be_stored"),
    [
        (
            answers(422, PROBLEM, content_type="application/problem+json"),
            422,
            "1 of 2 events is invalid (event 1 of the batch, timestamp: is not a date-time)",
            False,
        ),
        (answers(400, {"title": "Not JSON"}), 400, "Not JSON", False),
        (answers(400, {"title": 7}), 400, "Bad Request", False),
        (answers(403, ""), 403, "Forbidden", False),
        (answers(404, "404: Not Found", content_type="text/plain"), 404, "404: Not Found", False),
        (answers(408, ""), 408, "Request Timeout", False),
        (answers(415, "{}"), 415, "Unsupported Media Type", False),
        (answers(500, "oops " * 100, content_type="text/plain"), 500, "oops " * 40 + "…", True),
        (answers(501, "{}"), 501, "Not Implemented", True),
        (answers(201, counted([]), headers=ELSEWHERE), 201, "Created", True),
        (answers(204, ""), 204, "No Content", True),
        (
            answers(301, "", headers=ELSEWHERE),
            301,
            "Moved Permanently, moved to http://elsewhere/publish",
            False,
        ),
        (
            answers(307, "", headers=ELSEWHERE),
            307,
            "Temporary Redirect, moved to http://elsewhere/publish",
            False,
        ),
        (answers(200, "<html>"), 200, "not that of an aggregator (no JSON)", True),
    ],
)
async def test_permanent_refusal_is_not_retried(
    refusal: Answer, status: int, detail: str, may_be_stored: bool
) -> None:
    async with serving(refusal) as server:
        with pytest.raises(PublishRefused) as refused:
            await publish(server.url)
    assert len(server.bodies) == 1
    assert refused.value.status == status
    assert refused.value.detail == detail
    assert refused.value.may_be_stored is may_be_stored
    named = f" (request id {server.headers[0]['X-Request-ID']})"
    assert str(refused.value) == f"the answer is {status}: {detail}{named}"


async def test_all_attempts_of_a_batch_have_one_request_id_and_the_user_agent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "publisher")
    retries: list[Retry] = []
    script = [busy(), stores_and_cuts, answers(413, ""), busy(), takes]
    async with serving(*script) as server:
        await publish(server.url, told=retries)
        await publish(server.url, told=retries)
    first, second = (headers["X-Request-ID"] for headers in (server.headers[0], server.headers[-1]))
    ids = [headers["X-Request-ID"] for headers in server.headers]
    assert ids == [first] * 6 + [second]
    assert first != second
    assert [retry.request_id for retry in retries] == [first] * 3
    told = [record.getMessage() for record in caplog.records if record.name == "publisher"]
    assert told == [f"request id {each}: 2 events" for each in (first, second)]
    agents = {headers["User-Agent"] for headers in server.headers}
    assert agents == {f"pubsub-log-aggregator-publisher/{version('pubsub-log-aggregator')}"}


async def test_refusal_after_a_lost_response_may_be_stored() -> None:
    async with serving(stores_and_cuts, answers(401, "")) as server:
        with pytest.raises(PublishRefused) as refused:
            await publish(server.url)
    assert refused.value.status == 401
    assert refused.value.may_be_stored


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://[::1", f"http://{'a' * 300}", ""],
)
async def test_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(PublishRefused, match=r"^not the URL of an aggregator: ") as refused:
        await publish(url)
    assert not refused.value.may_be_stored


async def test_refused_connection_is_retried() -> None:
    retries: list[Retry] = []
    with reserved_port() as reserved:
        port = port_of(reserved)
        with pytest.raises(PublishGaveUp) as gave_up:
            await publish(f"http://127.0.0.1:{port}", HASTY, retries)
    expected = f"cannot connect to 127.0.0.1:{port}: Connection refused"
    assert gave_up.value.last_failure == expected
    assert not gave_up.value.may_be_stored
    assert not any(retry.may_be_stored for retry in retries)


async def test_aggregator_that_starts_late_is_reached_by_a_retry() -> None:
    scripted = Scripted()
    app = web.Application()
    app.router.add_post("/publish", scripted.publish)
    starting: list[asyncio.Task[None]] = []
    with reserved_port() as reserved:
        server = TestServer(app, socket_factory=lambda *_: reserved)

        def start(retry: Retry) -> None:
            if not starting:
                starting.append(asyncio.create_task(server.start_server()))

        try:
            async with aiohttp.ClientSession() as session:
                url = f"http://127.0.0.1:{port_of(reserved)}"
                outcomes = await publish_batch(session, url, BATCH, policy=PATIENT, on_retry=start)
        finally:
            await server.close()
    assert outcomes == STORED
    assert starting
