"""Each way of reading gives the same events, whatever the pieces, and tells of a missing one."""

import asyncio
import json
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
from support.streams import Talk, listening

sys.path.append(str(Path(__file__).parents[3]))
from benchmarks import page_walk, reading_client
from benchmarks.client_result import NotServed
from benchmarks.measuring import WrongCounts
from benchmarks.page_walk import Page, split
from benchmarks.reading_client import WAYS, Events, check_offsets

EVENTS = [{"offset": offset, "payload": {"text": "é, \\n"}} for offset in range(1, 51)]
LINES = b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in EVENTS)


def chunked(pieces: list[bytes], content_type: str = reading_client.NDJSON) -> bytes:
    """A whole answer, a chunk a piece."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""]]
    return head.encode() + b"".join(chunks)


def answering(answer: bytes) -> Talk:
    """A server that answers everything with this."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer)
            await writer.drain()

    return talk


def read_at(port: int, way: str) -> Events:
    """All events that a client reads of a server."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        return [event for some in WAYS[way](connection, "t") for event in some]
    finally:
        connection.close()


async def read(way: str, answer: bytes) -> Events:
    """All events that a client reads of this answer."""
    async with listening(answering(answer)) as port:
        return await asyncio.to_thread(read_at, port, way)


@pytest.mark.parametrize("way", ["lines", "blocks"])
@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
async def test_lines_that_are_cut_anywhere_are_put_together(way: str, size: int) -> None:
    pieces = [LINES[at : at + size] for at in range(0, len(LINES), size)]
    assert await read(way, chunked(pieces)) == EVENTS


async def test_pages_are_read_to_the_one_without_a_link() -> None:
    body = json.dumps(EVENTS).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readuntil(b"\r\n\r\n"):
            asked.append(line.split(b" ")[1])
            link = "" if len(asked) == 3 else 'Link: <?cursor=next>; rel="next"\r\n'
            writer.write(f"{head}{link}\r\n".encode() + body)

    async with listening(talk) as port:
        assert await asyncio.to_thread(read_at, port, "pages") == EVENTS * 3
    assert asked == [b"/events?topic=t&after=0&limit=5000", *[b"/events?cursor=next"] * 2]


@pytest.mark.parametrize("way", ["lines", "blocks"])
async def test_an_answer_that_is_no_ndjson_is_not_served(way: str) -> None:
    with pytest.raises(NotServed, match="does not answer NDJSON"):
        await read(way, chunked([b"[]"], "application/json"))


@pytest.mark.parametrize("way", ["lines", "blocks"])
async def test_a_last_line_without_its_end_is_no_figure(way: str) -> None:
    with pytest.raises(SystemExit, match="the last line has no end"):
        await read(way, chunked([LINES[:-1]]))


def test_offsets_follow_one_another() -> None:
    assert check_offsets(EVENTS[:20], 0) == 20
    assert check_offsets(EVENTS[20:], 20) == 50
    for wrong in (EVENTS[21:], EVENTS[19:], [*EVENTS[20:30], *EVENTS[31:]], EVENTS[:19:-1]):
        with pytest.raises(SystemExit, match="behind offset 20"):
            check_offsets(wrong, 20)


@pytest.mark.parametrize(("events", "limit", "readers"), [(10, 3, 1), (10, 4, 3), (2, 5, 3)])
def test_stretches_hold_every_event_once(events: int, limit: int, readers: int) -> None:
    stretches = split(events, limit, readers)
    assert len(stretches) == min(readers, events)
    pages = [page for stretch in stretches for page in stretch]
    offsets = [page.after + number for page in pages for number in range(1, page.limit + 1)]
    assert offsets == list(range(1, events + 1))
    assert max(page.limit for page in pages) <= limit


BODY = b'[{"offset":1}]'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-Length: 14\r\n\r\n" + BODY
PAGES = [[Page(0, 1), Page(1, 1)], [Page(2, 1)]]


async def test_a_walk_counts_the_bytes_of_every_page() -> None:
    async with listening(answering(ANSWER)) as port:
        known = await page_walk.lengths(port, "t", [Page(0, 1), Page(1, 1), Page(2, 1)])
        assert set(known.values()) == {len(BODY)}
        assert await page_walk.walk(port, "t", PAGES, known) > 0
        with pytest.raises(WrongCounts, match="not 15 bytes"):
            await page_walk.walk(port, "t", PAGES, known | {Page(2, 1): 15})
        with pytest.raises(WrongCounts, match="1 events"):
            await page_walk.lengths(port, "t", [Page(0, 2)])
    async with listening(answering(ANSWER.replace(b"200", b"503"))) as port:
        with pytest.raises(WrongCounts, match="503"):
            await page_walk.walk(port, "t", PAGES, known)
