"""What becomes of a wait when its client goes, ends its side, or goes on with the connection."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.events import published
from support.in_process import InProcessStore
from support.metrics import Scraped
from support.served import HEALTH, Served, Talk, serving, talking
from support.sockets import post

WAIT = b"GET /events?topic=orders&after=%d HTTP/1.1\r\nHost: x\r\nPrefer: wait=60\r\n\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
LIMIT_S = 30.0


@pytest.fixture(params=["auto", "off"])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    """An aggregator that takes the fast path, and one that does not."""
    store = InProcessStore(tmp_path / "log.db")
    async with serving(tmp_path, store, fast_path=request.param) as served:
        yield served


async def held(talk: Talk, waits: int) -> None:
    """Return once so many waits are held."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            _, _, body = await talk.answer(METRICS)
            if Scraped(body.decode()).value("aggregator_waits") == waits:
                return


@pytest.mark.parametrize("reset", [True, False])
async def test_a_client_that_is_gone_gives_up_its_place(served: Served, *, reset: bool) -> None:
    async with talking(served) as other:
        async with talking(served) as talk:
            talk.writer.write(WAIT % 0)
            await held(other, 1)
            if reset:
                sock = talk.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await held(other, 0)


@pytest.mark.parametrize("late", [True, False])
async def test_a_client_that_ended_its_side_is_answered_at_once(
    served: Served, *, late: bool
) -> None:
    async with talking(served) as other:
        await other.answer(post(json.dumps(published(event_id="e-1")).encode()))
        for after, events in ((1, 0), (0, 1)):
            async with talking(served) as talk:
                talk.writer.write(WAIT % after)
                if late and not events:
                    await held(other, 1)
                talk.writer.write_eof()
                status, headers, body = await talk.answer()
                assert (status, len(json.loads(body)), headers["log-head"]) == (200, events, "1")
                if not events:
                    assert "preference-applied" not in headers
                assert await talk.ended()


async def test_a_connection_is_used_again_after_a_wait(served: Served) -> None:
    publish = post(json.dumps(published()).encode())
    async with talking(served) as other, talking(served) as talk:
        for after in range(2):
            talk.writer.write(WAIT % after)
            await held(other, 1)
            await other.answer(publish.replace(b'"e-', b'"%d-' % after))
            status, headers, body = await talk.answer()
            assert (status, len(json.loads(body))) == (200, 1)
            assert headers["preference-applied"] == "wait=60"
        assert (await talk.answer(HEALTH))[0] == 200
        assert [connection.on_gone for connection in served.connections] == [None, None]


async def test_what_is_sent_behind_a_wait_is_answered_after_it(served: Served) -> None:
    async with talking(served) as other, talking(served) as talk:
        talk.writer.write(WAIT % 0 + HEALTH)
        await held(other, 1)
        await other.answer(post(json.dumps(published()).encode()))
        assert len(json.loads((await talk.answer())[2])) == 1
        assert (await talk.answer())[0] == 200
