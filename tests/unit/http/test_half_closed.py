"""A client may end its side of the connection behind its requests: they are answered first."""

import asyncio
import gzip
import json
import re
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog.testing
import uvloop
from support.events import published
from support.in_process import InProcessStore
from support.served import HEALTH, serving, serving_in_a_thread, talking
from support.sockets import post
from support.stores import ControlledStore, until

from aggregator.http import problem_details
from aggregator.observability import access_log

LIMIT_S = 30.0
PUBLISH = post(json.dumps(published()).encode())
COMPRESSED = post(gzip.compress(json.dumps(published()).encode()), Content_Encoding="gzip")
LARGE = post(json.dumps([published(payload={"v": "x" * 100_000}) for _ in range(20)]).encode())
READ = b"GET /events?limit=5000 HTTP/1.1\r\nHost: x\r\n\r\n"
Exchange = Callable[[bytes], bytes]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((asyncio.new_event_loop, "auto"), id="asyncio-short"),
        pytest.param((asyncio.new_event_loop, "off"), id="asyncio-usual"),
        pytest.param((uvloop.new_event_loop, "auto"), id="uvloop-short"),
        pytest.param((uvloop.new_event_loop, "off"), id="uvloop-usual"),
    ],
)
def port(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, processes: None
) -> Iterator[int]:
    """A server on each event loop, with and without the short way of publishes."""
    loop_factory, fast_path = request.param
    directory = tmp_path_factory.mktemp("half-closed")
    with serving_in_a_thread(directory, loop_factory, fast_path=fast_path) as served:
        assert served.port is not None
        yield served.port


@pytest.fixture
def exchange(port: int) -> Exchange:
    """Sends bytes, ends its side, and gives back all that came until the other side ended."""

    def send(request: bytes) -> bytes:
        with closing(socket.create_connection(("127.0.0.1", port), LIMIT_S)) as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            got = b""
            while data := client.recv(1 << 20):
                got += data
            return got

    return send


def statuses(answers: bytes) -> list[int]:
    """The statuses of answers that follow each other."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answers)]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(PUBLISH, 200, id="publish"),
        pytest.param(COMPRESSED, 200, id="compressed"),
        pytest.param(LARGE, 200, id="large"),
        pytest.param(HEALTH, 200, id="health"),
        pytest.param(
            HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), 200, id="close"
        ),
        pytest.param(HEALTH.replace(b"/health", b"/nowhere"), 404, id="nowhere"),
        pytest.param(b"GET /health HTTP/1.1\r\n\r\n", 400, id="no host"),
    ],
)
def test_a_whole_request_is_answered(exchange: Exchange, request_: bytes, status: int) -> None:
    assert statuses(exchange(request_)) == [status]


def test_all_of_a_large_answer_comes(exchange: Exchange) -> None:
    assert statuses(exchange(LARGE)) == [200]
    head, _, body = exchange(READ).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert len(json.loads(body)) >= 20


@pytest.mark.parametrize("sent", [
    pytest.param([HEALTH, HEALTH], id="two"),
    pytest.param([PUBLISH] * 5, id="publishes"),
    pytest.param([HEALTH, PUBLISH, COMPRESSED, PUBLISH, HEALTH], id="mixed"),
    pytest.param([PUBLISH, HEALTH] * 100, id="more than aiohttp queues"),
])  # fmt: skip
def test_pipelined_requests_are_all_answered(exchange: Exchange, sent: list[bytes]) -> None:
    assert statuses(exchange(b"".join(sent))) == [200] * len(sent)


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\r\n\r\n", id="empty lines"),
        pytest.param(HEALTH[:-1], id="a head"),
        pytest.param(PUBLISH[:-1], id="a body"),
        pytest.param(post(b"", Transfer_Encoding="chunked").replace(b"Content-Length: 0\r\n", b""),
                     id="chunks"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [b"", HEALTH, PUBLISH], ids=["", "health", "publish"])
def test_half_a_request_is_dropped_and_those_before_it_are_answered(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch, before: bytes, half: bytes
) -> None:
    monkeypatch.setattr(problem_details, "_log", structlog.get_logger())
    with structlog.testing.capture_logs() as logged:
        assert statuses(exchange(before + half)) == [200] * bool(before)
    assert "request_failed" not in {line["event"] for line in logged}, "it is no defect of ours"


def test_a_connection_that_waits_for_a_request_is_ended_at_once(port: int) -> None:
    for first in (b"", HEALTH, PUBLISH, COMPRESSED):
        with closing(socket.create_connection(("127.0.0.1", port), LIMIT_S)) as client:
            if first:
                client.sendall(first)
                assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(65536) == b""


@pytest.mark.parametrize("fast_path", ["auto", "off"])
async def test_a_client_that_is_gone_is_noticed_and_not_said_to_be_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast_path: str
) -> None:
    monkeypatch.setattr(access_log, "_log", structlog.get_logger())
    store = ControlledStore(InProcessStore(tmp_path / "log.db"))
    async with serving(tmp_path, store, fast_path=fast_path) as served, talking(served) as other:
        await other.answer(HEALTH)
        store.hold()
        async with talking(served) as talk:
            talk.writer.write(PUBLISH)
            await store.begun()
            sock = talk.writer.get_extra_info("socket")
            # Not ended in an orderly way: a reset.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            talk.writer.transport.abort()
            await until(lambda: served.connections[1].transport is None, "the end of it")
        with structlog.testing.capture_logs() as logged:
            store.release()
            await until(lambda: any(line["event"] == "request" for line in logged), "its line")
    (line,) = [line for line in logged if line["event"] == "request"]
    assert (line["status"], line["unique_processed"]) == (0, 1)
