"""The short way of a publish: what takes it, and that nobody can tell it from the usual one."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE
from support.events import published
from support.served import HEALTH, Served, refuse, serving, talking
from support.sockets import post

from aggregator.app import PENDING_RESPONSES
from aggregator.http.connection import MAX_HEAD_BYTES

pytestmark = pytest.mark.usefixtures("processes")

BATCH = json.dumps([published(event_id=f"e-{number}") for number in range(10)]).encode()
PUBLISH = post(BATCH)
SEVERAL_HEADS = 2 * MAX_HEAD_BYTES


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as it:
        yield it


async def test_a_publish_is_refused_before_it_is_a_request_and_the_connection_goes_on(
    served: Served,
) -> None:
    async with talking(served) as talk:
        assert (await talk.answer(PUBLISH))[0] == 200
        await refuse(served)
        before = served.requests
        for _ in range(3):
            assert (await talk.answer(PUBLISH))[0] == 503
        assert served.requests == before
        assert (await talk.answer(HEALTH))[0] == 200
        assert (await talk.answer(PUBLISH))[0] == 503
        assert served.requests == before + 1


async def test_it_is_the_answer_of_the_usual_way(served: Served) -> None:
    await refuse(served)
    async with talking(served) as talk:
        named = post(BATCH, X_Request_ID="r-1")
        status, headers, body = await talk.answer(named)
        assert served.requests == 0
        usual = await talk.answer(named.replace(b"/publish ", b"/publish? "))
        assert served.requests == 1
    assert (status, body) == (usual[0], usual[2])
    assert json.loads(body)["status"] == 503
    assert "shutting down" in json.loads(body)["detail"]
    assert headers | {"date": ""} == usual[1] | {"date": ""}
    assert headers["x-request-id"] == "r-1"
    assert headers["retry-after"] == "1"


@pytest.mark.parametrize("sent", ["", "é", "a b", "x" * 129])
async def test_an_id_that_is_none_gets_another(served: Served, sent: str) -> None:
    await refuse(served)
    async with talking(served) as talk:
        _, headers, _ = await talk.answer(post(BATCH, X_Request_ID=sent))
    assert headers["x-request-id"] not in {"", sent}
    assert served.requests == 0


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(PUBLISH.replace(b"HTTP/1.1", b"HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(post(BATCH, Connection="close"), id="close"),
    ],
)
async def test_a_connection_that_is_to_end_ends(served: Served, request_: bytes) -> None:
    await refuse(served)
    async with talking(served) as talk:
        assert (await talk.answer(request_))[0] == 503
        assert await talk.ended()
    assert served.requests == 1


async def test_nothing_follows_the_last_answer_of_a_connection(served: Served) -> None:
    await refuse(served)
    async with talking(served) as talk:
        last = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert (await talk.answer(last))[0] == 200
        talk.writer.write(PUBLISH)
        assert await talk.ended()


@pytest.mark.parametrize("cut", [1, 30, len(PUBLISH) - len(BATCH), len(PUBLISH) - 1])
async def test_one_that_comes_in_pieces_is_refused_too(served: Served, cut: int) -> None:
    await refuse(served)
    async with talking(served) as talk:
        talk.writer.write(PUBLISH[:cut])
        await talk.writer.drain()
        async with talking(served) as other:
            # What was sent before has been read when this is answered.
            await other.answer(HEALTH)
        assert (await talk.answer(PUBLISH[cut:]))[0] == 503
        assert (await talk.answer(PUBLISH))[0] == 503


async def test_answers_come_in_the_order_of_the_requests(served: Served) -> None:
    await refuse(served)
    async with talking(served) as talk:
        for pipelined in (HEALTH + PUBLISH + HEALTH, PUBLISH + HEALTH + PUBLISH, PUBLISH * 20):
            talk.writer.write(pipelined)
            expected = [
                200 if each == b"GET" else 503
                for each in pipelined.replace(b"POST /", b"\nPOST /")
                .replace(b"GET /", b"\nGET /")
                .split()
                if each in {b"GET", b"POST"}
            ]
            assert [(await talk.answer())[0] for _ in expected] == expected


async def test_a_publish_behind_a_request_under_way_waits_for_its_turn(served: Served) -> None:
    async with talking(served) as talk:
        half = post(BATCH)[:-1]
        talk.writer.write(half)
        async with talking(served) as other:
            await other.answer(HEALTH)
        await refuse(served)
        # The rest of the first, and the second, in one piece; then the third alone.
        talk.writer.write(BATCH[-1:] + post(BATCH, X_Request_ID="second"))
        first = await talk.answer()
        second = await talk.answer()
        third = await talk.answer(post(BATCH, X_Request_ID="third"))
    assert [answer[0] for answer in (first, second, third)] == [503, 503, 503]
    assert second[1]["x-request-id"] == "second"
    assert third[1]["x-request-id"] == "third"


async def test_a_body_that_makes_aiohttp_pause_goes_the_usual_way(served: Served) -> None:
    await refuse(served)
    large = post(b" " * 200_000)
    async with talking(served) as talk:
        for _ in range(3):
            assert (await talk.answer(large))[0] == 503
    assert served.requests == 3


async def test_a_large_body_that_follows_its_head_is_passed_over(served: Served) -> None:
    await refuse(served)
    large = post(b" " * 1_000_000)
    async with talking(served) as talk:
        talk.writer.write(large[:200])
        async with talking(served) as other:
            await other.answer(HEALTH)
        assert (await talk.answer(large[200:]))[0] == 503
        assert (await talk.answer(PUBLISH))[0] == 503


async def test_more_can_be_refused_than_the_parser_would_hold(served: Served) -> None:
    await refuse(served)
    async with talking(served) as talk:
        for _ in range(2 * MAX_MSG_QUEUE_SIZE):
            assert (await talk.answer(post()))[0] == 503
        talk.writer.write(HEALTH * 3)
        assert [(await talk.answer())[0] for _ in range(3)] == [200] * 3


async def test_http_1_0_is_told_that_its_connection_goes_on(served: Served) -> None:
    await refuse(served)
    old = post(BATCH, Connection="keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    async with talking(served) as talk:
        status, headers, _ = await talk.answer(old)
    assert (status, headers["connection"]) == (503, "keep-alive")


async def test_a_wish_for_another_protocol_is_passed_over(served: Served) -> None:
    await refuse(served)
    async with talking(served) as talk:
        upgrade = post(BATCH, Connection="upgrade", Upgrade="websocket")
        assert (await talk.answer(upgrade))[0] == 503
        assert (await talk.answer(PUBLISH))[0] == 503
        assert (await talk.answer(HEALTH))[0] == 200


@pytest.mark.parametrize("end", ["read", "cut off"])
async def test_answers_that_nobody_takes_are_counted_and_not_heaped_up(
    served: Served, end: str
) -> None:
    await refuse(served)
    async with talking(served) as talk:
        await talk.answer(HEALTH)
        connection = served.connections[-1]
        assert connection.transport is not None
        # More than the kernel's buffers take, as if it all came in one turn of the loop.
        for _ in range(50_000):
            connection.data_received(post())
        assert connection.transport.get_write_buffer_size() < 1000
        answers = served.app[PENDING_RESPONSES]
        assert answers.bytes > 0
        if end == "cut off":
            connection.abort()
        async with asyncio.timeout(30):
            while answers.bytes:
                if end == "read":
                    await talk.answer()
                await asyncio.sleep(0)
        connection.abort()


async def test_what_is_broken_is_told_so(served: Served) -> None:
    await refuse(served)
    async with talking(served) as talk:
        assert (await talk.answer(PUBLISH.replace(b"Host: test", b"Host test")))[0] == 400
    async with talking(served) as talk:
        assert (await talk.answer(PUBLISH.replace(b"POST", b"PUT")))[0] == 405
        assert (await talk.answer(PUBLISH.replace(b"/publish", b"/publishes")))[0] == 404


async def test_refused_bodies_do_not_count_as_the_head_of_a_request(served: Served) -> None:
    await refuse(served)
    async with talking(served) as talk:
        for _ in range(SEVERAL_HEADS // len(PUBLISH) + 1):
            assert (await talk.answer(PUBLISH))[0] == 503
    assert served.requests == 0


async def test_a_connection_that_is_refused_again_and_again_is_not_idle(tmp_path: Path) -> None:
    async with serving(tmp_path, keepalive_timeout=1.0) as served:
        await refuse(served)
        loop = asyncio.get_running_loop()
        async with talking(served) as talk:
            end = loop.time() + 2.5
            while loop.time() < end:
                assert (await talk.answer(PUBLISH))[0] == 503
            assert served.requests == 0
            assert await talk.ended()
