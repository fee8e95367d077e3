"""NDJSON through nginx and HAProxy as documented: compressed, slow, and cut off."""

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientPayloadError, ClientSession
from support.compressed import DECOMPRESS
from support.events import published
from support.load import session
from support.processes import Aggregator
from support.proxies import proxied

Run = Callable[..., Aggregator]

EVENTS = 400
LINES = {"Accept": "application/x-ndjson"}


@pytest.fixture
async def aggregator(run_aggregator: Run) -> Aggregator:
    """One with 32 MB of events."""
    running = run_aggregator()
    async with session() as client:
        for start in range(0, EVENTS, 10):
            batch = [
                published(
                    event_id=f"e-{start + n}", payload={"text": random.randbytes(40_000).hex()}
                )
                for n in range(10)
            ]
            async with client.post(f"{running.url}/publish", json=batch) as response:
                assert response.status == 200
    return running


@pytest.fixture(params=["nginx", "haproxy"])
async def url(
    request: pytest.FixtureRequest, aggregator: Aggregator, tmp_path: Path
) -> AsyncIterator[str]:
    with proxied(request.param, aggregator.url, tmp_path) as behind:
        yield f"{behind}/events?topic=orders"


def ids(text: bytes) -> list[str]:
    return [json.loads(line)["event_id"] for line in text.splitlines()]


@pytest.mark.parametrize("coding", ["zstd", "gzip"])
async def test_compressed_lines_go_through_as_they_are(url: str, coding: str) -> None:
    async with ClientSession(auto_decompress=False) as client:
        headers = LINES | {"Accept-Encoding": coding}
        async with client.get(url, headers=headers) as response:
            assert response.headers["Content-Encoding"] == coding
            assert response.headers["Vary"] == "Accept, Accept-Encoding"
            text = DECOMPRESS[coding](await response.read())
    assert ids(text) == [f"e-{n}" for n in range(EVENTS)]


def read_slowly(url: str) -> bytes:
    """Read in small pieces, with room for little more."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.sock = socket.socket()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    connection.sock.connect((parts.hostname, parts.port))
    with closing(connection):
        connection.request("GET", f"{parts.path}?{parts.query}", headers=LINES)
        response = connection.getresponse()
        return b"".join(iter(lambda: response.read(16 * 1024), b""))


async def test_a_slow_reader_has_nothing_on_the_disk(url: str, tmp_path: Path) -> None:
    assert ids(await asyncio.to_thread(read_slowly, url)) == [f"e-{n}" for n in range(EVENTS)]
    # What nginx says of an answer that it puts there.
    assert "temporary file" not in (tmp_path / "proxy.log").read_text()


async def test_an_answer_that_is_cut_off_is_seen_to_be(aggregator: Aggregator, url: str) -> None:
    async with ClientSession() as client, client.get(url, headers=LINES) as response:
        assert response.status == 200
        aggregator.process.kill()
        with pytest.raises(ClientPayloadError):
            await response.read()
