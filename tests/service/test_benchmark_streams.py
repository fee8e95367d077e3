"""The benchmark's clients of streams: they check what they read, and say what is not served."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.streams import listening

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks import child, stream_fanout
from benchmarks.bare_streams import pieces
from benchmarks.client_result import NotServed
from benchmarks.databases import sqlite_file
from benchmarks.measuring import Sent, WrongCounts, through
from benchmarks.serving import Server, aggregator
from benchmarks.stored_topic import TOPIC, WORKLOAD
from benchmarks.stream_idling import idle

EVENTS = 2_500
"""More than a stream reads at a time."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CAUGHT_UP = b'retry: 1000\nevent: caught-up\nid: 0\ndata: {"topic-0":0}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """An aggregator with one topic."""
    async with sqlite_file() as database:
        with aggregator(database.arguments) as server:
            await through([server], Sent.make(WORKLOAD, EVENTS))
            yield server


async def test_streams_of_an_aggregator_are_read_and_recorded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for how in ("stream", "lines"):
        read = await child.run("stream_client", server.port, TOPIC, EVENTS, how)
        assert read["seconds"] > 0
    with pytest.raises(RuntimeError, match="ended with status 1"):
        await child.run("stream_client", server.port, TOPIC, EVENTS + 1, "stream")
    monkeypatch.setattr(stream_fanout, "READERS", 3)
    record = tmp_path / "record"
    streamed = await stream_fanout.from_start(server, EVENTS, record)
    written = pieces(record.read_bytes())
    assert b"".join(written).count(b'"offset":') == EVENTS
    bare = await stream_fanout.bare_from_start(EVENTS, record)
    assert streamed.mib_s is not None
    assert bare.mib_s is not None
    # Each has the same, but for what comes behind the last event.
    assert streamed.mib_s / streamed.events_s == pytest.approx(
        bare.mib_s / bare.events_s, rel=0.001
    )
    delays = await child.run("delay_client", server.port, 5)
    assert len(delays["answers_s"]) == len(delays["events_s"]) == 5
    async with idle(server.port, 60):
        assert server.resident_bytes() > 0


async def test_idle_streams_that_have_ended_are_told() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + chunk(CAUGHT_UP) + chunk(b":\n"))
        if b"topic=quiet-0&" not in target:
            await reader.read()

    async with listening(talk) as port:
        with pytest.raises(WrongCounts, match="14 streams are open, not 16"):
            async with idle(port, 16):
                pass


async def test_an_idle_stream_with_an_event_is_no_figure() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + chunk(CAUGHT_UP))
        await writer.drain()
        writer.write(chunk(b"id: 1\ndata: {}\n\n"))
        await reader.read()

    async with listening(talk) as port:
        with pytest.raises(RuntimeError, match="idle_client has ended"):
            async with idle(port, 1):
                pass


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("stream_client", [TOPIC, 1, "stream"]),
        ("fanout_client", [1, TOPIC, 1, "start", "record"]),
        ("fanout_client", [1, TOPIC, 1, "now", "record"]),
        ("idle_client", [1, 0, TOPIC]),
        ("delay_client", [1]),
    ],
)
async def test_a_server_without_streams_serves_none(module: str, arguments: list[object]) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 2\r\n\r\n[]")
        await reader.read()

    async with listening(talk) as port:
        with pytest.raises(NotServed, match="does not answer text/event-stream"):
            await child.run(module, port, *arguments)


def test_pieces_of_a_record_are_its_chunks_without_one_that_is_cut_short() -> None:
    whole = [HEAD + chunk(b"a" * 20), chunk(b"b\r\n0\r\n\r\n"), chunk(b"c")]
    assert pieces(b"".join(whole)) == whole
    assert pieces(b"".join(whole)[:-1]) == whole[:-1]
    assert pieces(b"".join(whole) + b"1") == whole
