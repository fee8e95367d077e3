"""Answers to reads are compressed for who accepts it, and say the same."""

import asyncio
import random
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientResponse
from multidict import CIMultiDict
from support.backends import Database
from support.events import published
from support.http import Client, MakeClient
from support.lines import ACCEPT_LINES
from support.stores import ControlledStore
from support.talking import publish

from aggregator.http import compression

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor
else:
    from backports.zstd import ZstdDecompressor

LINES = ACCEPT_LINES["Accept"]


def decompress_zstd(data: bytes) -> bytes:
    """One frame, and nothing behind it: not every client reads a second one."""
    decompressor = ZstdDecompressor()
    text = decompressor.decompress(data)
    assert decompressor.eof
    assert not decompressor.unused_data
    return text


def decompress_gzip(data: bytes) -> bytes:
    """One member, complete."""
    decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    text = decompressor.decompress(data)
    assert decompressor.eof
    assert not decompressor.unused_data
    return text


DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": decompress_zstd,
    "gzip": decompress_gzip,
}


async def fill(client: Client, events: int = 60) -> None:
    await publish(
        client, [published(topic=f"topic-{n % 20:0200}", event_id=f"e-{n}") for n in range(events)]
    )
    await publish(client, published(event_id="long", payload={"text": "x" * 5000}))


async def get(
    client: Client, target: str, accept_encoding: str | None, accept: str = "*/*"
) -> ClientResponse:
    """GET without what a client adds or undoes of its own accord."""
    headers = CIMultiDict({"Accept": accept})
    if accept_encoding is not None:
        headers["Accept-Encoding"] = accept_encoding
    return await client.session.get(
        client.make_url(target), headers=headers, skip_auto_headers=["Accept-Encoding"]
    )


@pytest.fixture
async def raw(client: Client) -> Client:
    """A client that decompresses nothing."""
    client.session._auto_decompress = False
    return client


READS = [
    ("/events?limit=5000&order=asc", "*/*", "Accept, Accept-Encoding"),
    ("/events", LINES, "Accept, Accept-Encoding"),
    ("/events?topic=orders&event_id=long", "*/*", "Accept, Accept-Encoding"),
    ("/events?topic=orders&event_id=long", LINES, "Accept, Accept-Encoding"),
    ("/events/orders/long", "*/*", "Accept-Encoding"),
]


@pytest.mark.parametrize("coding", ["zstd", "gzip"])
@pytest.mark.parametrize(("target", "accept", "vary"), READS)
async def test_a_compressed_answer_says_the_same(
    raw: Client, target: str, accept: str, vary: str, coding: str
) -> None:
    await fill(raw)
    plain = await get(raw, target, None, accept)
    assert "Content-Encoding" not in plain.headers
    text = await plain.read()
    assert len(text) > 5000
    response = await get(raw, target, coding, accept)
    assert response.headers["Content-Encoding"] == coding
    assert response.headers["Vary"] == plain.headers["Vary"] == vary
    assert response.headers["Content-Type"] == plain.headers["Content-Type"]
    assert "ETag" not in response.headers
    body = await response.read()
    assert len(body) < len(text) // 2
    assert DECOMPRESS[coding](body) == text
    if accept != LINES or "event_id" in target:
        assert response.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("target", ["/stats", "/metrics"])
@pytest.mark.parametrize("coding", ["zstd", "gzip"])
async def test_counts_and_metrics_are_compressed_too(raw: Client, target: str, coding: str) -> None:
    await fill(raw)
    response = await get(raw, target, coding)
    assert response.headers["Content-Encoding"] == coding
    assert response.headers["Vary"] == "Accept-Encoding"
    text = DECOMPRESS[coding](await response.read())
    assert b"topics" in text


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("br", None),
        ("deflate", None),
        ("gzip, deflate", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("gzip;q=0.5, zstd;q=0.9", "zstd"),
        ("zstd;q=0, gzip", "gzip"),
        ("zstd;q=0, gzip;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0, gzip", "gzip"),
        ("identity;q=0", None),
        ("*", "gzip"),
        ("*;q=0", None),
        ("gzip;q=0, *", None),
        ("zstd;q=wrong, gzip;q=0.1", "gzip"),
        (" ,, gzip ; q=1 ", "gzip"),
    ],
)
async def test_the_coding_is_the_one_that_is_wanted_most(
    raw: Client, accept_encoding: str | None, coding: str | None
) -> None:
    await fill(raw)
    for accept in ("*/*", LINES):
        response = await get(raw, "/events", accept_encoding, accept)
        assert response.headers.get("Content-Encoding") == coding
        text = await response.read()
        if coding is not None:
            text = DECOMPRESS[coding](text)
        assert text.startswith((b"[{", b"{"))


async def test_what_is_small_or_no_read_is_as_it_is(raw: Client) -> None:
    await publish(raw, published(event_id="e-1"))
    for target in ("/events", "/events/orders/e-1", "/health", "/ready", "/stats"):
        response = await get(raw, target, "zstd, gzip")
        assert "Content-Encoding" not in response.headers, target
    response = await get(raw, "/events", "zstd, gzip", LINES)
    assert "Content-Encoding" not in response.headers
    response = await raw.session.post(
        raw.make_url("/publish"),
        json=[published() for _ in range(100)],
        headers={"Accept-Encoding": "zstd, gzip"},
    )
    assert response.status == 200
    assert "Content-Encoding" not in response.headers
    assert len(await response.read()) > 5000


async def test_a_head_says_how_the_answer_would_be_coded(raw: Client) -> None:
    await fill(raw)
    for accept in ("*/*", LINES):
        response = await raw.session.head(
            raw.make_url("/events"), headers={"Accept-Encoding": "zstd", "Accept": accept}
        )
        assert response.headers["Content-Encoding"] == "zstd"
        assert "Content-Length" not in response.headers
        assert await response.read() == b""
    response = await raw.session.head(
        raw.make_url("/events"), headers={"Accept-Encoding": "identity"}
    )
    length = int(response.headers["Content-Length"])
    assert length == len(await (await get(raw, "/events", None)).read())


async def test_large_parts_are_compressed_beside_the_event_loop(
    raw: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = {"text": "x" * 300_000}
    await publish(raw, [published(payload=payload) for _ in range(10)])
    for accept in ("*/*", LINES):
        plain = await (await get(raw, "/events?order=asc", None, accept)).read()
        for coding in ("zstd", "gzip"):
            body = await (await get(raw, "/events?order=asc", coding, accept)).read()
            assert DECOMPRESS[coding](body) == plain


class FirstRead(ControlledStore):
    """A store whose reads wait until they are released, but for the first."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.store())
        self.reads = 0
        self.released = asyncio.Event()

    async def read(self, query: Any, encode: Any) -> Any:
        self.reads += 1
        if self.reads > 1:
            await self.released.wait()
        return await super().read(query, encode)


@pytest.mark.parametrize("coding", ["zstd", "gzip"])
async def test_what_was_read_is_there_for_the_reader_before_more_is_read(
    make_client: MakeClient, database: Database, coding: str
) -> None:
    store = FirstRead(database)
    client = await make_client(store)
    client.session._auto_decompress = False
    await publish(client, [published(payload={"text": "x" * 300_000}) for _ in range(10)])
    response = await get(client, "/events?topic=orders", coding, LINES)
    decompressor = (
        ZstdDecompressor() if coding == "zstd" else zlib.decompressobj(16 + zlib.MAX_WBITS)
    )
    text = b""
    async with asyncio.timeout(30):
        while text.count(b"\n") < 4:
            text += decompressor.decompress(await response.content.readany())
        assert not store.released.is_set()
        store.released.set()
        text += decompressor.decompress(await response.read())
    assert text.count(b"\n") == 10


async def test_so_many_streams_are_compressed_and_the_others_are_not(
    raw: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "_MAX_STREAMS", 1)
    for _ in range(2):
        # Of these the buffers of a connection have room for few, compressed or not.
        await publish(
            raw,
            [published(payload={"text": random.randbytes(450_000).hex()}) for _ in range(10)],
        )
    first = await get(raw, "/events", "gzip", LINES)
    second = await get(raw, "/events", "gzip", LINES)
    assert first.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in second.headers
    assert decompress_gzip(await first.read()) == await second.read()
    third = await get(raw, "/events", "gzip", LINES)
    assert third.headers["Content-Encoding"] == "gzip"
    third.close()
