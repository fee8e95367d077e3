"""The aggregator over TLS of its own: every request, every bound, and clients that do harm."""

import asyncio
import json
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import aiohttp
import psutil
import pytest
from support.command import on_terminal
from support.events import published
from support.load import check_conservation
from support.processes import Aggregator, wait_for
from support.sluggish import (
    BOUND_MIB,
    connections,
    get,
    has_ended,
    head_of_post,
    most_memory_mib,
    post,
    read_answer,
)
from support.tls import Authority

Run = Callable[..., Aggregator]
MIB = 2**20
SMALL_BUFFER = 4096
PUBLISH = post(json.dumps(published()).encode())
HEALTH = get("/health")


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def run(run_aggregator: Run, authority: Authority, tmp_path: Path) -> Run:
    """Starts an aggregator that speaks TLS."""
    pair = authority.pair(tmp_path / "live", "127.0.0.1")

    def run(*options: str) -> Aggregator:
        aggregator = run_aggregator(*pair.options(), *options)
        aggregator.trusting = authority.trusting()
        return aggregator

    return run


def no_traceback(aggregator: Aggregator) -> None:
    """Nothing that nobody foresaw was written."""
    assert b"Traceback" not in aggregator.written()
    assert b"exception" not in aggregator.written()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("fast_path", ["auto", "off"])
async def test_a_publish_is_stored_and_read_both_ways_and_with_both_versions(
    run: Run, authority: Authority, fast_path: str, version: ssl.TLSVersion
) -> None:
    aggregator = run("--fast-path", fast_path)
    context = authority.trusting()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(aggregator.url, connector=connector) as client:
        for number in range(3):
            async with client.post("/publish", json=published(event_id=f"e-{number}")) as answer:
                assert answer.status == 200
        # Larger than a record and than what the socket takes at once.
        batch = [published(event_id=f"l-{n}", payload={"v": "x" * 20_000}) for n in range(40)]
        assert (await client.post("/publish", json=batch)).status == 200
        async with client.get("/events", params={"topic": batch[0]["topic"]}) as answer:
            assert len(await answer.json()) == 43
        check_conservation(await (await client.get("/stats")).json())
    aggregator.trusting = context
    with connections(aggregator) as clients:
        connection = clients.open(HEALTH)
        assert isinstance(connection, ssl.SSLSocket)
        assert connection.version() == version.name.replace("_", ".")
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_older_versions_are_refused_with_a_line(run: Run, authority: Authority) -> None:
    aggregator = run()
    old = authority.trusting()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with plain(aggregator, b"") as connection, pytest.raises((ssl.SSLError, ConnectionError)):
        old.wrap_socket(connection, server_hostname="127.0.0.1")
    (line,) = aggregator.log_lines("tls_failed")
    assert line["reason"] == "client and server have no version of TLS in common"


def test_what_is_printed_on_a_terminal_names_https(authority: Authority, tmp_path: Path) -> None:
    pair = authority.pair(tmp_path / "live", "127.0.0.1")
    with on_terminal("--port", "0", *pair.options(), cwd=tmp_path) as running:
        running.wait_for_text("Ctrl-C")
        shown = running.text
    assert re.search(r"listening on https://127\.0\.0\.1:\d+, storing", shown)
    assert re.search(r"curl https://127\.0\.0\.1:\d+/publish", shown)


def plain(aggregator: Aggregator, sent: bytes) -> socket.socket:
    """A socket on which this is sent, without TLS."""
    port = int(aggregator.url.rpartition(":")[2])
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.sendall(sent)
    return connection


def test_what_is_no_tls_ends_without_a_traceback_and_leaves_nothing_open(run: Run) -> None:
    aggregator = run("--idle-timeout-ms", "1000")
    hello = ssl.MemoryBIO()
    half = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    process = psutil.Process(aggregator.process.pid)
    with connections(aggregator) as clients:
        assert read_answer(clients.open(HEALTH))[0] == 200
    wait_for(lambda: len(process.net_connections()) == 1, "the connection to be gone")
    before = process.num_fds()
    sent = [HEALTH, b"\x00" * 500, b"\xff" * 70_000, hello.read(), b"", b"\x16\x03\x01\x02\x00"]
    opened = [plain(aggregator, each) for each in sent * 5]
    wait_for(lambda: all(has_ended(each) for each in opened), "the end of them all")
    for each in opened:
        each.close()
    wait_for(lambda: process.num_fds() == before, "no more files open than before")
    reasons = {line["reason"] for line in aggregator.log_lines("tls_failed")}
    assert "plain HTTP was sent; the URL must begin with https:" in reasons
    assert "no handshake within 1 seconds" in reasons
    no_traceback(aggregator)


def test_a_hundred_that_never_read_are_bounded_and_cut_off(run: Run) -> None:
    aggregator = run("--send-timeout-ms", "1000")
    with connections(aggregator) as clients:
        for number in range(10):
            large = published(event_id=f"e-{number}", payload={"text": "x" * (MIB - 2000)})
            assert read_answer(clients.open(post(json.dumps(large).encode())))[0] == 200
        for _ in range(30):
            clients.open(get("/events?limit=5000"), receive_buffer=SMALL_BUFFER)
        follow = get("/events?topic=orders&from=start").replace(
            b"\r\n\r\n", b"\r\nAccept: text/event-stream\r\n\r\n"
        )
        for _ in range(70):
            clients.open(follow, receive_buffer=SMALL_BUFFER)
        wait_for(lambda: len(aggregator.log_lines("response_aborted")) >= 70, "the cut-offs")
        assert read_answer(clients.open(HEALTH))[0] == 200
    assert most_memory_mib(aggregator) < BOUND_MIB
    reasons = {line["reason"] for line in aggregator.log_lines("response_aborted")}
    assert reasons <= {"not taken within 1 seconds", "others need the room"}
    no_traceback(aggregator)


async def test_a_stream_gives_what_comes_and_ends_whole_at_the_signal(
    run: Run, authority: Authority
) -> None:
    aggregator = run()
    connector = aiohttp.TCPConnector(ssl=authority.trusting())
    accept = {"Accept": "text/event-stream"}
    async with aiohttp.ClientSession(aggregator.url, connector=connector) as client:
        async with client.get("/events?topic=orders&from=start", headers=accept) as stream:
            assert (await client.post("/publish", json=published(topic="orders"))).status == 200
            assert b"event_id" in await stream.content.readuntil(b'"event_id"')
            stopping = asyncio.create_task(asyncio.to_thread(aggregator.stop))
            # With its last chunk, or this would fail.
            await stream.read()
        assert await stopping == 0
    no_traceback(aggregator)


def test_open_connections_do_not_hold_up_the_end_and_are_told_of_it(run: Run) -> None:
    # Far above the limit within which `stop` must end.
    aggregator = run("--drain-timeout-ms", "600000")
    with connections(aggregator) as clients:
        kept, silent = clients.open(HEALTH), clients.open()
        assert read_answer(kept)[0] == 200
        shaking = plain(aggregator, b"\x16\x03\x01")
        assert aggregator.stop() == 0
        # Neither raises: the session is ended before the connection is.
        assert kept.recv(1) == b""
        assert silent.recv(1) == b""
        assert has_ended(shaking)
        shaking.close()
    assert aggregator.log_lines("stopped")
    no_traceback(aggregator)


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_a_client_that_ends_its_side_is_answered_first(run: Run, fast_path: str) -> None:
    aggregator = run("--fast-path", fast_path)
    with connections(aggregator) as clients:
        for request in (PUBLISH, HEALTH, get("/events")):
            connection = clients.open(request)
            # Past TLS: what the wrapper of Python's does would end the session as well.
            socket.socket.shutdown(connection, socket.SHUT_WR)
            assert read_answer(connection)[0] == 200
            assert connection.recv(1) == b""
    no_traceback(aggregator)


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_a_client_that_waits_to_be_told_to_go_on_is(run: Run, fast_path: str) -> None:
    aggregator = run("--fast-path", fast_path)
    body = json.dumps(published()).encode()
    with connections(aggregator) as clients:
        head = head_of_post(len(body)).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
        connection = clients.open(head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_answer(connection)[0] == 200


def test_publishes_that_come_at_once_are_answered_in_their_order(run: Run) -> None:
    aggregator = run()
    with connections(aggregator) as clients:
        connection = clients.open(PUBLISH * 50 + HEALTH)
        received = b""
        while b'"ok"' not in received:
            received += connection.recv(65_536)
    assert received.count(b"HTTP/1.1 200 OK") == 51


@pytest.mark.parametrize("required", ["off", "on"])
async def test_who_has_no_certificate_is_served_unless_one_is_demanded(
    run: Run, authority: Authority, tmp_path: Path, required: str
) -> None:
    authorities = authority.write(tmp_path / "authorities.pem")
    aggregator = run("--tls-client-ca", str(authorities), "--tls-client-required", required)
    shown = authority.client(authority.pair(tmp_path / "client", "shop.example"))
    async with aiohttp.ClientSession(aggregator.url) as client:
        assert (await client.get("/health", ssl=shown)).status == 200
        if required == "off":
            assert (await client.get("/health", ssl=authority.client())).status == 200
        else:
            with pytest.raises(aiohttp.ClientError):
                await client.get("/health", ssl=authority.client())
            aggregator.trusting = shown
            lines = aggregator.log_lines("tls_failed")
            assert {line["reason"] for line in lines} == {"the client sent no certificate"}
