"""How an NDJSON answer ends: whole with its last chunk, and without it whatever cuts it off."""

import asyncio
import json
import socket
from contextlib import closing
from typing import Any

import pytest
import structlog
from support.backends import Database
from support.events import published
from support.http import Client, MakeClient
from support.lines import ACCEPT_LINES
from support.metrics import Scraped
from support.stores import ControlledStore, until
from support.talking import expect_problem, publish

import aggregator.reading.stream_limit
from aggregator.app import PENDING_RESPONSES
from storage.errors import StorageUnavailable

LAST_CHUNK = b"0\r\n\r\n"
_LIMIT_S = 30.0


class FailingReads(ControlledStore):
    """A store of which only so many more reads succeed."""

    left = 10**9

    async def read(self, query: Any, encode: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise StorageUnavailable("the database is gone")
        return await super().read(query, encode)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a stream of four events, so that there are several."""
    monkeypatch.setattr(aggregator.reading.stream_limit, "_MIN_PAGE_BYTES", 4 * 256)
    monkeypatch.setattr(aggregator.reading.stream_limit, "_MAX_PAGE_BYTES", 4 * 256)


async def exchange(
    client: Client, version: str = "1.1", target: str = "/events", connection: str = "close"
) -> bytes:
    """All that comes until the connection ends."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    with closing(writer):
        writer.write(
            f"GET {target} HTTP/{version}\r\nHost: x\r\nConnection: {connection}\r\n"
            "Accept: application/x-ndjson\r\n\r\n".encode()
        )
        async with asyncio.timeout(_LIMIT_S):
            return await reader.read()


async def fill(client: Client, events: int = 20, characters: int = 10) -> None:
    for _ in range(events // 20):
        await publish(client, [published(payload={"t": "x" * characters}) for _ in range(20)])


async def test_a_whole_answer_ends_with_its_last_chunk(client: Client) -> None:
    await fill(client)
    answer = await exchange(client)
    assert b"Transfer-Encoding: chunked" in answer
    assert answer.count(b'"event_id"') == 20
    assert answer.endswith(LAST_CHUNK)


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
async def test_with_http_1_0_a_whole_answer_ends_with_the_connection(
    client: Client, connection: str
) -> None:
    await fill(client)
    answer = await exchange(client, "1.0", connection=connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert len([json.loads(line) for line in body.splitlines()]) == 20


async def test_a_store_that_fails_on_the_way_leaves_out_the_last_chunk(
    make_client: MakeClient, database: Database
) -> None:
    store = FailingReads(database.store())
    client = await make_client(store)
    await fill(client)
    store.left = 3
    with structlog.testing.capture_logs() as logged:
        answer = await exchange(client, target="/events?topic=orders")
        await until(lambda: any(line["event"] == "request" for line in logged), "its line")
    assert b" 200 OK" in answer
    assert 4 <= answer.count(b'"event_id"') <= 12
    assert not answer.endswith(LAST_CHUNK)
    (failed,) = [line for line in logged if line["event"] == "stream_failed"]
    assert failed["reason"] == "the database is gone"
    (line,) = [line for line in logged if line["event"] == "request"]
    assert (line["status"], line["complete"]) == (0, False)
    assert line["events"] == answer.count(b'"event_id"')


async def test_with_http_1_0_an_answer_that_is_not_whole_ends_with_a_reset(
    make_client: MakeClient, database: Database
) -> None:
    store = FailingReads(database.store())
    client = await make_client(store)
    await fill(client)
    store.left = 3
    with pytest.raises(ConnectionResetError):
        await exchange(client, "1.0", "/events?topic=orders")


async def test_a_store_that_fails_before_the_first_byte_is_a_503(
    make_client: MakeClient, database: Database
) -> None:
    store = FailingReads(database.store())
    client = await make_client(store)
    await fill(client)
    for query, left in (("?topic=orders", 0), ("", 0), ("", 1)):
        store.left = left
        response = await client.get(f"/events{query}", headers=ACCEPT_LINES)
        problem = await expect_problem(response, 503)
        assert "the database is gone" in problem["detail"]
    store.left = 10**9
    assert (await client.get("/events", headers=ACCEPT_LINES)).status == 200


def stalled(client: Client) -> socket.socket:
    """A connection that asks for lines and has room for few of them."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    connection.setblocking(False)
    with pytest.raises(BlockingIOError):
        connection.connect((client.host, client.port))
    return connection


async def ask(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(
        connection, b"GET /events HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n"
    )
    # It has begun.
    assert await loop.sock_recv(connection, 1) == b"H"


@pytest.fixture
def large_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregator.reading.stream_limit, "_MAX_PAGE_BYTES", 2**20)


async def test_who_takes_nothing_is_cut_off(make_client: MakeClient, large_pages: None) -> None:
    client = await make_client(send_timeout_ms=200)
    await fill(client, 160, 100_000)
    connection = stalled(client)
    with closing(connection), structlog.testing.capture_logs() as logged:
        await ask(connection)
        await until(
            lambda: any(line["event"] == "request" for line in logged), "the line of the request"
        )
    (aborted,) = [line for line in logged if line["event"] == "response_aborted"]
    assert aborted["reason"] == "not taken within 0.2 seconds"
    (line,) = [line for line in logged if line["event"] == "request"]
    assert (line["status"], line["complete"]) == (0, False)


async def gauge(client: Client, name: str, **labels: str) -> float:
    return Scraped(await (await client.get("/metrics")).text()).value(name, **labels)


async def test_readers_that_do_not_read_hold_next_to_nothing_and_may_go_on(
    make_client: MakeClient, large_pages: None
) -> None:
    bound = 2**21
    client = await make_client(answers_max_bytes=bound)
    await fill(client, 160, 100_000)
    pending = client.app[PENDING_RESPONSES]
    connections = [stalled(client) for _ in range(12)]
    with structlog.testing.capture_logs() as logged:
        for connection in connections:
            await ask(connection)
        assert await gauge(client, "aggregator_streams") == 12
        # Everybody else is served within what is left.
        for _ in range(3):
            assert len(await (await client.get("/events?limit=3")).json()) == 3
        assert pending.bytes <= bound
        for connection in connections[1:]:
            connection.close()
        async with asyncio.timeout(_LIMIT_S):
            while await gauge(client, "aggregator_streams") > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        rest = await read_rest(connections[0])
    assert rest.count(b'"event_id"') == 160
    assert not [line for line in logged if line["event"] == "response_aborted"]
    assert await gauge(client, "aggregator_read_bytes") == 0
    assert pending.bytes == 0


async def read_rest(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    received = b""
    with closing(connection):
        async with asyncio.timeout(_LIMIT_S):
            while not received.endswith(LAST_CHUNK):
                received += await loop.sock_recv(connection, 2**20)
    return received


async def test_streams_are_counted_in_a_series_of_their_own(client: Client) -> None:
    await fill(client)
    await exchange(client)
    await client.get("/events")
    scraped = Scraped(await (await client.get("/metrics")).text())
    assert scraped.value("aggregator_requests_total", path="/events (stream)", status="200") == 1
    assert scraped.value("aggregator_requests_total", path="/events", status="200") == 1
    assert scraped.value("aggregator_streamed_events_total") == 20
    assert scraped.value("aggregator_streams") == 0
    assert scraped.value("aggregator_streams_limit") == 2000
