"""A connection with TLS does what one without does, on each event loop."""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
import structlog.testing
import uvloop
from aiohttp import web
from support.load import until
from support.sluggish import has_ended
from support.tls import Authority
from support.tls_sessions import Counted, Session, serving_sessions

from aggregator.http.connection import Connection
from aggregator.http.connection_limit import LimitedConnections
from aggregator.http.pending_responses import PendingResponses

LIMIT_S = 30.0
MIB = 2**20
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CLIENT_CA = "authorities.pem"

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine in an event loop of that kind, within a limit."""

    def run(test: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(test, LIMIT_S))

    return run


class Recording(asyncio.Protocol):
    """What is served behind the handshake, as a test sees it."""

    def __init__(self, *, keep: bool = False) -> None:
        self.transport: asyncio.Transport | None = None
        self.received = b""
        self._paused = False
        self.ended = False
        self.lost = False
        self._keep = keep

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.ended = True
        return self._keep

    def pause_writing(self) -> None:
        assert not self._paused
        self._paused = True

    def resume_writing(self) -> None:
        assert self._paused
        self._paused = False

    def is_paused(self) -> bool:
        """Whether it was told to wait, and not to go on."""
        return self._paused

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lost = True


@asynccontextmanager
async def connected(
    directory: Path, served: Recording, **options: Any
) -> AsyncIterator[tuple[Session, asyncio.Transport]]:
    """A client's session, and the transport behind which the recording protocol is."""
    authority = Authority()
    pair = authority.pair(directory, "127.0.0.1")
    async with serving_sessions(lambda: served, pair) as port:
        session = await asyncio.to_thread(Session, port, authority.trusting(), **options)
        try:
            await until(lambda: served.transport is not None)
            assert served.transport is not None
            yield session, served.transport
        finally:
            session.close()
            await until(lambda: served.lost)


def test_what_the_kernel_does_not_take_is_known_and_told_of(run: Run, tmp_path: Path) -> None:
    async def test() -> None:
        served = Recording()
        async with connected(tmp_path, served, receive_buffer=4096) as (session, transport):
            assert not served.is_paused()
            transport.write(b"a little")
            # The kernel has it: nobody is told to wait.
            assert not served.is_paused()
            assert transport.get_write_buffer_size() == 0
            transport.writelines([b"x" * MIB] * 16)
            assert served.is_paused()
            left = transport.get_write_buffer_size()
            assert left > MIB
            reading = asyncio.create_task(asyncio.to_thread(take, session, 8 + 16 * MIB))
            await until(lambda: not served.is_paused())
            assert transport.get_write_buffer_size() == 0
            assert await reading == 8 + 16 * MIB

    run(test())


def take(session: Session, size: int) -> int:
    """Read so much."""
    taken = 0
    while taken < size:
        taken += len(session.receive())
    return taken


def test_who_does_not_read_is_cut_off_at_once_whatever_is_held(run: Run, tmp_path: Path) -> None:
    async def test() -> None:
        served = Recording()
        async with connected(tmp_path, served, receive_buffer=4096) as (_, transport):
            transport.write(b"x" * 16 * MIB)
            assert transport.get_write_buffer_size()
            transport.abort()
            assert transport.is_closing()
            await until(lambda: served.lost)
            # What is written to who is gone is thrown away.
            transport.write(b"more")
            assert transport.get_write_buffer_size() == 0

    run(test())


def test_nothing_comes_in_while_reading_is_paused(run: Run, tmp_path: Path) -> None:
    async def test() -> None:
        served = Recording()
        async with connected(tmp_path, served) as (session, transport):
            transport.pause_reading()
            session.send(b"one")
            for _ in range(20):
                await asyncio.sleep(0)
            assert served.received == b""
            assert not transport.is_reading()
            transport.resume_reading()
            await until(lambda: served.received == b"one")
            await asyncio.to_thread(session.send, b"x" * 5 * MIB)
            await until(lambda: len(served.received) == 3 + 5 * MIB)

    run(test())


@pytest.mark.parametrize("end", [Session.end_session, Session.end_socket])
def test_a_client_that_ends_its_side_is_still_answered_if_it_is_owed_an_answer(
    run: Run, tmp_path: Path, end: Callable[[Session], None]
) -> None:
    async def test() -> None:
        served = Recording(keep=True)
        async with connected(tmp_path, served) as (session, transport):
            session.send(b"request")
            end(session)
            await until(lambda: served.ended)
            assert served.received == b"request"
            transport.write(b"x" * MIB)
            transport.close()
            # To the end, and told that it is the end.
            assert await asyncio.to_thread(session.receive_all) == b"x" * MIB

    run(test())


@pytest.mark.parametrize("end", [Session.end_session, Session.end_socket])
def test_a_client_that_ends_its_side_and_is_owed_nothing_is_hung_up_on(
    run: Run, tmp_path: Path, end: Callable[[Session], None]
) -> None:
    async def test() -> None:
        served = Recording(keep=False)
        async with connected(tmp_path, served) as (session, _):
            end(session)
            assert await asyncio.to_thread(session.receive_all) == b""
            await until(lambda: served.lost)

    run(test())


def test_what_is_no_record_ends_a_connection_with_a_line(run: Run, tmp_path: Path) -> None:
    async def test() -> None:
        served = Recording()
        async with connected(tmp_path, served) as (session, _):
            session.send(b"whole")
            with structlog.testing.capture_logs() as lines:
                session.socket.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
                await until(lambda: served.lost)
            assert served.received == b"whole"
            (line,) = lines
            assert line["event"] == "tls_failed"
            assert line["client"] == "127.0.0.1"

    run(test())


class _Renewing:
    """A session that answers each record with one of its own, as one that is asked for new keys."""

    def __init__(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO):
        self._tls, self._incoming, self._outgoing = tls, incoming, outgoing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tls, name)

    def read(self, _size: int) -> bytes:
        self._outgoing.write(self._incoming.read())
        raise ssl.SSLWantReadError


def test_who_has_keys_renewed_and_never_reads_fills_no_memory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap = ssl.SSLContext.wrap_bio

    def wrap_renewing(
        context: ssl.SSLContext, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: Any
    ) -> Any:
        session = wrap(context, incoming, outgoing, **options)
        return _Renewing(session, incoming, outgoing) if options.get("server_side") else session

    # No client of Python's asks for new keys.
    monkeypatch.setattr(ssl.SSLContext, "wrap_bio", wrap_renewing)

    async def test() -> None:
        served = Recording()
        async with connected(tmp_path, served, receive_buffer=4096) as (session, transport):
            transport.write(b"x" * 16 * MIB)
            assert served.is_paused()
            with structlog.testing.capture_logs() as lines:
                with suppress(OSError):
                    for _ in range(64):
                        await asyncio.to_thread(session.socket.sendall, b"x" * 2048)
                await until(lambda: bool(lines))
            assert lines[0]["reason"] == "the client has keys renewed and does not read"
            assert transport.is_closing()
            transport.abort()

    run(test())


@asynccontextmanager
async def serving_requests(
    directory: Path, authority: Authority, max_open: int = 100, idle_timeout_s: float = LIMIT_S
) -> AsyncIterator[tuple[int, LimitedConnections]]:
    """A server that tells each client the names of its certificate; gives its port."""

    async def tell(request: web.BaseRequest) -> web.Response:
        protocol = request.protocol
        assert isinstance(protocol, Connection)
        told = {
            "names": protocol.certificate_names,
            "not_after": protocol.certificate_not_after,
            "scheme": request.scheme,
        }
        return web.json_response(told)

    server = web.Server(tell)
    connections = LimitedConnections(
        server,
        max_open=max_open,
        pending=PendingResponses(max_bytes=MIB, timeout_s=LIMIT_S),
        fast_path=None,
        access_log=None,
    )
    pair = authority.pair(directory / "server", "127.0.0.1")
    async with serving_sessions(
        connections,
        pair,
        client_ca=authority.write(directory / CLIENT_CA),
        observer=connections,
        idle_timeout_s=idle_timeout_s,
    ) as port:
        yield port, connections
        await server.shutdown()


def ask(port: int, context: ssl.SSLContext, resumed: ssl.SSLSession | None = None) -> Any:
    """What the server tells a client of itself, and the client's session."""
    session = Session(port, context, resumed=resumed)
    try:
        session.send(REQUEST)
        answer = b""
        while b"}" not in answer:
            data = session.receive()
            if not data:
                raise ConnectionError("it was hung up on")
            answer += data
        return json.loads(answer.partition(b"\r\n\r\n")[2]), session.tls.session
    finally:
        session.close()


def ask_for_ever(port: int, context: ssl.SSLContext, resumed: ssl.SSLSession | None) -> None:
    """Ask again until that fails."""
    while True:
        ask(port, context, resumed)


def test_a_verified_certificate_is_known_by_its_names_and_its_end(run: Run, tmp_path: Path) -> None:
    authority = Authority()
    pair = authority.pair(
        tmp_path / "client", "shop.example", "*.shop.example", uri="spiffe://example/shop",
        common_name="DNS:other",
    )  # fmt: skip

    async def test() -> None:
        async with serving_requests(tmp_path, authority) as (port, _):
            told, _ = await asyncio.to_thread(ask, port, authority.client(pair))
        assert told["names"] == [
            "DNS:shop.example",
            "DNS:*.shop.example",
            "URI:spiffe://example/shop",
            "CN:DNS:other",
        ]
        assert told["not_after"] == pytest.approx(time.time() + 9e4, abs=3600)
        assert told["scheme"] == "https"

    run(test())


def test_without_a_certificate_there_is_no_name(run: Run, tmp_path: Path) -> None:
    authority = Authority()

    async def test() -> None:
        async with serving_requests(tmp_path, authority) as (port, _):
            told, _ = await asyncio.to_thread(ask, port, authority.client())
        assert told == {"names": [], "not_after": None, "scheme": "https"}

    run(test())


def test_a_certificate_of_another_authority_is_refused(run: Run, tmp_path: Path) -> None:
    authority = Authority()
    pair = Authority().pair(tmp_path / "client", "shop.example")

    async def test() -> None:
        async with serving_requests(tmp_path, authority) as (port, _):
            with structlog.testing.capture_logs() as lines:
                with pytest.raises((ConnectionError, ssl.SSLError)):
                    await asyncio.to_thread(ask, port, authority.client(pair))
                await until(lambda: bool(lines))
        assert lines[0]["reason"].startswith("the client's certificate does not verify: ")

    run(test())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_not_resumed_when_its_certificate_has_run_out(
    run: Run, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = Authority()
    context = authority.client(authority.pair(tmp_path / "client", "shop.example", lives_s=3))
    context.maximum_version = version

    async def test() -> None:
        async with serving_requests(tmp_path, authority) as (port, _):
            told, session = await asyncio.to_thread(ask, port, context)
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await asyncio.to_thread(ask_for_ever, port, context, session)
        assert told["not_after"] <= time.time()

    run(test())


def test_handshakes_that_are_not_gone_on_with_keep_nobody_out(run: Run, tmp_path: Path) -> None:
    authority = Authority()

    async def test() -> None:
        async with serving_requests(tmp_path, authority, max_open=3) as (port, connections):
            silent = []
            with structlog.testing.capture_logs() as lines:
                for _ in range(9):
                    silent.append(
                        await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))
                    )
                    silent[-1].sendall(b"\x16\x03\x01")
                await asyncio.to_thread(ask, port, authority.client())
                # Six were too many, and a seventh made room for the one that asked.
                await until(lambda: sum(map(has_ended, silent)) >= 7)
            # None of them because its time was over.
            assert {line["event"] for line in lines} == {"too_many_connections"}
            for each in silent:
                each.close()
            await until(lambda: not len(connections))

    run(test())


def test_a_handshake_has_its_time(run: Run, tmp_path: Path) -> None:
    authority = Authority()

    async def test() -> None:
        async with serving_requests(tmp_path, authority, idle_timeout_s=0.2) as (port, connections):
            with structlog.testing.capture_logs() as lines:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"\x16\x03\x01")
                with suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()
            await until(lambda: not len(connections))
        assert [line["reason"] for line in lines] == ["no handshake within 0.2 seconds"]

    run(test())


def test_who_only_looks_whether_somebody_listens_leaves_no_line(run: Run, tmp_path: Path) -> None:
    authority, observer = Authority(), Counted()
    pair = authority.pair(tmp_path, "127.0.0.1")

    async def look(port: int, sent: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        await until(lambda: bool(observer.open))
        writer.close()
        await until(lambda: not observer.open)

    async def test() -> None:
        async with serving_sessions(Recording, pair, observer=observer) as port:
            with structlog.testing.capture_logs() as lines:
                await look(port, b"")
                assert lines == []
                await look(port, b"\x16\x03\x01")
        assert [line["reason"] for line in lines] == ["the connection ended within the handshake"]

    run(test())


def test_at_the_end_handshakes_that_are_not_done_are_ended(run: Run, tmp_path: Path) -> None:
    observer = Counted()
    pair = Authority().pair(tmp_path, "127.0.0.1")

    async def test() -> None:
        async with serving_sessions(Recording, pair, observer=observer) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x16\x03\x01")
            await until(lambda: bool(observer.open))
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        assert not observer.open

    run(test())
