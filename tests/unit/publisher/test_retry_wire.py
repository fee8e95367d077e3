"""Answers that are cut anywhere, never end, or are not HTTP at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from support.delivering import BODY, PATIENT, STORED, publish
from support.scripted import (
    Scripted,
    counted,
    encoded,
    serving,
)
from support.streams import listening

from publisher.errors import PublishRefused
from publisher.retry import Retry, RetryPolicy, publish_batch


@asynccontextmanager
async def speaking(*replies: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that sends these bytes and hangs up, one reply a connection, the last for ever."""
    received: list[bytes] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(BODY))
        writer.write(replies[min(len(received), len(replies)) - 1])
        await writer.drain()

    async with listening(speak) as port:
        yield f"http://user:secret@127.0.0.1:{port}", received


@pytest.mark.parametrize(
    "reply",
    [
        b"220 mail.example ESMTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_response_that_is_not_http_is_not_retried(reply: bytes) -> None:
    async with speaking(reply) as (url, received):
        with pytest.raises(PublishRefused, match=r"^the answer is not HTTP: ") as refused:
            await publish(url)
    assert len(received) == 1
    assert refused.value.status is None
    assert refused.value.may_be_stored
    assert "secret" not in str(refused.value)


CONTENT = json.dumps(
    counted(
        [
            {"topic": "orders", "event_id": name, "status": "stored", "offset": offset}
            for offset, name in enumerate("ab", 1)
        ]
    )
).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(CONTENT), CONTENT),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT),
        HEAD + b"Connection: close\r\n\r\n" + CONTENT,
        b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"
        + HEAD
        + b"Content-Length: %d\r\n\r\n%b" % (len(CONTENT), CONTENT),
    ],
    ids=["length", "chunked", "until closed", "early hints"],
)
async def test_truncated_response_is_retried(answer: bytes) -> None:
    policy = RetryPolicy(first_wait_s=0, deadline_s=60.0)
    body_at = answer.index(CONTENT)
    # Every place in the head and in the frame, and some in the body.
    ends = [n for n in range(len(answer)) if n < body_at + 9 or n % 7 == 0 or n > len(answer) - 12]
    retries: list[Retry] = []
    async with speaking(*(answer[:end] for end in ends), answer) as (url, received):
        assert await publish(url, policy, retries) == STORED
    # The last bytes of a chunked answer say nothing that could be missed.
    assert len(ends) - 8 <= len(retries) <= len(ends)
    assert len(received) == len(retries) + 1
    assert {retry.reason.split(":")[0] for retry in retries} == {
        "the connection was lost",
        "the answer was cut short",
    }


async def test_endless_response_is_read_up_to_a_bound() -> None:
    sent = 0

    async def endless(server: Scripted, request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b'{"x":"' + b" " * 100_000)
            sent += 100_000

    retries: list[Retry] = []
    async with serving(endless) as server:
        assert await publish(server.url, told=retries) == STORED
    assert retries[0].reason == "the answer was cut short"
    # What the sockets and aiohttp hold of it comes on top.
    assert sent < 20_000_000


class EnoughError(Exception):
    """Ends the sending."""


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        (lambda writer: writer.transport.abort(), "Connection reset by peer"),
        (lambda writer: writer.write_eof(), "the request could not be written"),
    ],
    ids=["reset", "half closed"],
)
async def test_connection_lost_while_sending_is_described(
    ends: Callable[[asyncio.StreamWriter], None], reason: str
) -> None:
    async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        ends(writer)
        while await reader.read(2**20):
            pass

    # More than the buffers on the way can hold.
    large = [encoded("a", '{"x":"' + "y" * 30_000_000 + '"}')]
    retries: list[Retry] = []

    def twice(retry: Retry) -> None:
        retries.append(retry)
        if len(retries) == 2:
            raise EnoughError

    async with listening(cut_off) as port, aiohttp.ClientSession() as session:
        url = f"http://user:secret@127.0.0.1:{port}"
        with pytest.raises(EnoughError):
            await publish_batch(session, url, large, policy=PATIENT, on_retry=twice)
    assert [retry.reason for retry in retries] == [f"the connection was lost: {reason}"] * 2
