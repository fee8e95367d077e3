"""A lease that its client does not get is given back; nobody who has gone is given one."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import structlog.testing
from msgspec.structs import replace
from support.scripted_subscriptions import (
    TOKEN,
    ServedSubscriptions,
    leased,
    serving_subscriptions,
)
from support.served import Talk, talking
from support.stores import until

from aggregator.http import lease_routes
from aggregator.observability.labels import LEASE_WAITS_PATH
from aggregator.subscriptions.errors import LeaseLost
from aggregator.wire.lease_request import LeaseRequest
from aggregator.wire.subscription_answers import LeaseAnswer
from storage.errors import StorageUnavailable

PATH = "/subscriptions/{name}/lease"
LARGE = [b'{"delivery":1,"event":"%b"}' % (b"x" * 2**20)] * 8
GIVEN_UP: dict[str, object] = {
    "lease": None,
    "expires_at": None,
    "expires_in_ms": None,
    "deliveries": [],
    "lag": None,
}


def ask(wait_ms: int = 0, headers: str = "") -> bytes:
    """A request for a lease."""
    body = json.dumps({"consumer": "w", "wait_ms": wait_ms})
    head = f"POST /subscriptions/billing/lease HTTP/1.1\r\nHost: x\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def reset(talk: Talk) -> None:
    """End a connection as a client does that is killed with bytes that it has not read."""
    sock = talk.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.writer.close()


@pytest.fixture
async def routes() -> AsyncIterator[ServedSubscriptions]:
    """The routes over a scripted service."""
    async with serving_subscriptions() as served:
        yield served


async def over(routes: ServedSubscriptions) -> tuple[str, int]:
    """Wait until a request is over, and give its route and status back."""
    await until(lambda: bool(routes.finished), "the request does not end")
    return routes.finished[0]


async def half_sent(routes: ServedSubscriptions) -> None:
    """Wait until the kernel takes no more of an answer."""
    transport = routes.served.connections[0].transport
    assert isinstance(transport, asyncio.WriteTransport)
    await until(lambda: transport.get_write_buffer_size() > 0, "the kernel takes all of it")


@pytest.mark.parametrize("is_reset", [True, False])
async def test_a_client_that_goes_gives_up_its_wait(
    routes: ServedSubscriptions, *, is_reset: bool
) -> None:
    async with talking(routes.served) as talk:
        talk.writer.write(ask(60_000))
        assert await routes.service.until("lease") == ("billing", LeaseRequest("w", 100, 60_000))
        if is_reset:
            reset(talk)
    await routes.service.until_cancelled()
    route, _ = await over(routes)
    assert route == LEASE_WAITS_PATH
    assert [call[0] for call in routes.service.calls] == ["lease"]


async def test_a_client_that_ends_its_side_while_it_waits_gets_nothing(
    routes: ServedSubscriptions,
) -> None:
    async with talking(routes.served) as talk:
        talk.writer.write(ask(60_000))
        await routes.service.until("lease")
        talk.writer.write_eof()
        status, _, body = await talk.answer()
        assert (status, json.loads(body)) == (200, GIVEN_UP)
        assert await talk.ended()
    assert routes.service.cancelled == 1


@pytest.mark.parametrize("wait_ms", [0, 60_000])
async def test_a_client_that_ends_its_side_behind_its_request_gets_what_is_there(
    routes: ServedSubscriptions, wait_ms: int
) -> None:
    routes.service.leases = [leased(b'{"delivery":1}')]
    async with talking(routes.served) as talk:
        talk.writer.write(ask(wait_ms))
        talk.writer.write_eof()
        status, _, body = await talk.answer()
        assert (status, len(json.loads(body)["deliveries"])) == (200, 1)
        assert await talk.ended()
    ((_, *arguments),) = routes.service.calls
    assert arguments == ["billing", LeaseRequest("w", 100, 0)]


async def test_a_lease_that_comes_as_its_client_goes_is_released(
    routes: ServedSubscriptions,
) -> None:
    async with talking(routes.served) as talk:
        talk.writer.write(ask(60_000))
        await routes.service.until("lease")
        # It is given in the turn of the event loop in which the client is seen to have gone.
        (waiting,) = routes.service.waiting
        (connection,) = routes.served.connections
        waiting.set_result(leased(b'{"delivery":1}'))
        await asyncio.sleep(0)
        connection.eof_received()
        status, _, body = await talk.answer()
        assert (status, json.loads(body)) == (200, GIVEN_UP)
    assert await routes.service.until("released") == ("billing", TOKEN)


async def test_a_lease_that_is_waited_for_is_given(routes: ServedSubscriptions) -> None:
    async with talking(routes.served) as talk:
        for count in (1, 2):
            talk.writer.write(ask(60_000))
            await routes.service.until("lease")
            await routes.service.until_waiting(count)
            routes.service.waiting[-1].set_result(leased(b'{"delivery":1}'))
            status, _, body = await talk.answer()
            assert (status, len(json.loads(body)["deliveries"])) == (200, 1)
            (connection,) = routes.served.connections
            assert connection.on_gone is None
    assert "released" not in [call[0] for call in routes.service.calls]
    assert routes.finished == [(LEASE_WAITS_PATH, 200)] * 2


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_a_lease_whose_answer_is_not_taken_is_released(
    routes: ServedSubscriptions, coding: str
) -> None:
    # Larger than the kernel holds for a connection, also when it is compressed.
    large = LARGE
    if coding:
        noise = [b'{"delivery":"%b"}' % n.to_bytes(8).hex().encode() for n in range(10)]
        large = [*noise, *LARGE]
    routes.service.leases = [leased(*large)]
    async with talking(routes.served) as talk:
        talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
        talk.writer.write(ask(0, f"Accept-Encoding: {coding}\r\n" if coding else ""))
        await routes.service.until("lease")
        if coding:
            # It is compressed in a thread meanwhile.
            reset(talk)
        else:
            await half_sent(routes)
            reset(talk)
        assert await routes.service.until("released") == ("billing", TOKEN)
    assert await over(routes) == (PATH, 0)


async def test_a_lease_whose_answer_is_aborted_is_released(routes: ServedSubscriptions) -> None:
    """The reader takes it too slowly, and others need the room."""
    routes.service.leases = [leased(*LARGE)]
    async with talking(routes.served) as talk:
        talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
        talk.writer.write(ask())
        await routes.service.until("lease")
        await half_sent(routes)
        routes.served.connections[0].abort()
        assert await routes.service.until("released") == ("billing", TOKEN)


async def test_a_lease_whose_last_bytes_are_not_taken_is_released(
    routes: ServedSubscriptions,
) -> None:
    """All of it was given to the connection, but not to the kernel, when that is aborted."""
    routes.service.leases = [leased(token=None), leased(b'{"delivery":"%b"}' % (b"x" * 60_000))]
    with socket.socket() as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(small, ("127.0.0.1", routes.served.port))
        await loop.sock_sendall(small, ask())
        await loop.sock_recv(small, 4096)
        (connection,) = routes.served.connections
        assert connection.transport is not None
        kernel = connection.transport.get_extra_info("socket")
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await loop.sock_sendall(small, ask())
        await half_sent(routes)
        connection.abort()
        assert await routes.service.until("released") == ("billing", TOKEN)


async def test_a_lease_whose_answer_can_not_be_made_is_released(
    routes: ServedSubscriptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_answer: LeaseAnswer) -> list[bytes]:
        raise ValueError("it can't be encoded")

    monkeypatch.setattr(lease_routes, "lease_answer", fail)
    routes.service.leases = [leased(b"{}")]
    response = await routes.client.post("/subscriptions/billing/lease", json={"consumer": "w"})
    assert response.status == 500
    assert await routes.service.until("released") == ("billing", TOKEN)


@pytest.mark.parametrize(
    ("error", "lines"), [(LeaseLost("over"), 0), (StorageUnavailable("out of reach"), 1)]
)
async def test_a_lease_that_can_not_be_released_runs_out(
    routes: ServedSubscriptions, monkeypatch: pytest.MonkeyPatch, error: Exception, lines: int
) -> None:
    with structlog.testing.capture_logs() as logged:
        monkeypatch.setattr(lease_routes, "_log", structlog.get_logger())
        routes.service.errors = {"released": error}
        routes.service.leases = [leased(*LARGE)]
        async with talking(routes.served) as talk:
            talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
            talk.writer.write(ask())
            await routes.service.until("lease")
            reset(talk)
            await routes.service.until("released")
        await over(routes)
    told = [line for line in logged if line["event"] == "lease_not_released"]
    assert len(told) == lines
    assert not lines or (told[0]["subscription"], told[0]["reason"]) == ("billing", "out of reach")


@pytest.mark.parametrize("hold_s", [3600, 0])
async def test_who_does_not_take_a_large_answer_keeps_its_memory_for_a_moment_only(
    routes: ServedSubscriptions, monkeypatch: pytest.MonkeyPatch, hold_s: float
) -> None:
    monkeypatch.setattr(lease_routes, "_MAX_HOLD_S", hold_s)
    freed: list[str] = []
    routes.service.leases = [replace(leased(*LARGE), done=lambda: freed.append("not taken"))]
    async with talking(routes.served) as talk:
        talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
        talk.writer.write(ask())
        await routes.service.until("lease")
        await half_sent(routes)
        if hold_s:
            assert freed == []
        else:
            await until(lambda: freed == ["not taken"], "its memory is free")


async def test_what_is_small_or_taken_keeps_no_memory(
    routes: ServedSubscriptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_routes, "_MAX_HOLD_S", 3600)
    freed: list[str] = []
    routes.service.leases = [
        replace(leased(b"{}"), done=lambda: freed.append("small")),
        replace(leased(*LARGE), done=lambda: freed.append("taken")),
    ]
    for _ in range(2):
        response = await routes.client.post("/subscriptions/billing/lease", json={"consumer": "w"})
        await response.read()
    await until(lambda: "taken" in freed, "its memory is free")
    assert freed[0] == "small"
