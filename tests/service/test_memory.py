"""Hostile bodies against the real process: its memory stays bounded, and it goes on working."""

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from support.load import (
    LIMIT_S,
    Told,
    batch_of,
    get_json,
    publish_until_taken,
    session,
    until,
)
from support.processes import Aggregator
from support.sluggish import BOUND_MIB, most_memory_mib

Run = Callable[..., Aggregator]

MAX_BODY = 16 * 2**20

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc"
)


class Answer(NamedTuple):
    """A response, from a connection on which more may still be sent."""

    status: int
    head: bytes
    body: bytes

    def check(self, *statuses: int) -> None:
        """One of these statuses, as problem+json."""
        assert self.status in statuses, self
        assert b"application/problem+json" in self.head
        assert json.loads(self.body)["status"] == self.status


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """The next response."""
    async with asyncio.timeout(LIMIT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
    return Answer(int(head.split()[1]), head, body)


async def send(aggregator: Aggregator, headers: str, pieces: Iterator[bytes]) -> Answer:
    """Send a body piece by piece until it is answered, whatever of it is left."""
    parts = urlsplit(aggregator.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    answer = asyncio.create_task(read_answer(reader))
    try:
        writer.write(f"POST /publish HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode())
        for piece in pieces:
            if answer.done():
                break
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return await answer
    finally:
        answer.cancel()
        writer.close()


@asynccontextmanager
async def bounded(run_aggregator: Run, *arguments: str) -> AsyncIterator[Aggregator]:
    """An aggregator that must stay within its memory and take a publish afterwards."""
    aggregator = run_aggregator(*arguments)
    yield aggregator
    async with session() as client:
        await publish_until_taken(client, aggregator.url, batch_of("after", ["e-1"]), Told())
    assert most_memory_mib(aggregator) < BOUND_MIB
    assert not aggregator.log_lines("request_failed")


def bomb(gib: int) -> bytes:
    """Gzip that becomes `gib` GiB of one JSON string, from a thousandth of that."""
    deflate = zlib.compressobj(9, wbits=31)
    head = deflate.compress(b'["' + b"a" * 2**20) + deflate.flush(zlib.Z_FULL_FLUSH)
    more = deflate.compress(b"a" * 2**26) + deflate.flush(zlib.Z_FULL_FLUSH)
    # Blocks that do not look back can be repeated; the check sum at the end is never reached.
    return head + more * (gib * 16)


async def test_ten_gigabytes_in_ten_megabytes_are_refused(run_aggregator: Run) -> None:
    body = bomb(10)
    assert len(body) < 12_000_000
    async with bounded(run_aggregator) as aggregator:
        headers = f"Content-Encoding: gzip\r\nContent-Length: {len(body)}"
        pieces = [body[n : n + 65_536] for n in range(0, len(body), 65_536)]
        alone = await send(aggregator, headers, iter(pieces))
        alone.check(413)
        for answer in await asyncio.gather(
            *(send(aggregator, headers, iter(pieces)) for _ in range(4))
        ):
            answer.check(413, 503)


async def test_a_gigabyte_announced_is_refused_before_it_is_sent(run_aggregator: Run) -> None:
    async with bounded(run_aggregator) as aggregator:
        answer = await send(aggregator, f"Content-Length: {2**30}", iter([]))
        answer.check(413)


async def test_a_body_without_end_is_refused(run_aggregator: Run) -> None:
    def endless() -> Iterator[bytes]:
        yield b"1\r\n[\r\n"
        while True:
            yield b"10000\r\n" + b" " * 0x10000 + b"\r\n"

    async with bounded(run_aggregator) as aggregator:
        answer = await send(aggregator, "Transfer-Encoding: chunked", endless())
        answer.check(413)


def failed(task: "asyncio.Task[None]") -> bool:
    """Whether a task has ended with an exception."""
    return task.done() and task.exception() is not None


async def test_halves_of_large_bodies_fill_the_queue_and_no_more(run_aggregator: Run) -> None:
    half = b"[" + b" " * (MAX_BODY // 2)
    parts: list[asyncio.StreamWriter] = []
    statuses: list[int] = []

    async def send_half(aggregator: Aggregator) -> None:
        url = urlsplit(aggregator.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        parts.append(writer)
        writer.write(
            f"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY}\r\n\r\n".encode()
        )
        writer.write(half)
        answer = await read_answer(reader)
        answer.check(503)
        assert b"Retry-After" in answer.head
        statuses.append(answer.status)

    async with bounded(run_aggregator) as aggregator, session() as client:
        tasks = [asyncio.create_task(send_half(aggregator)) for _ in range(100)]
        # The queue has room for 64 MiB: fewer than eight halves and what belongs to them.
        await until(lambda: len(statuses) >= 92 or any(map(failed, tasks)))
        await asyncio.gather(*(task for task in tasks if task.done()))
        assert aggregator.process.poll() is None
        assert await get_json(client, f"{aggregator.url}/health") == {"status": "ok"}
        for task in tasks:
            task.cancel()
        for writer in parts:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/json", b"[" + b"1," * (MAX_BODY // 2 - 2) + b"1]"),
        ("application/json", b'{"events":[' + b"{}," * (MAX_BODY // 3 - 6) + b"{}]}"),
        ("application/json", b"{" + b'"a":1,' * (MAX_BODY // 6 - 2) + b'"b":1}'),
        ("application/x-ndjson", b"{}\n" * (MAX_BODY // 3)),
        ("application/x-ndjson", b"\n" * MAX_BODY),
    ],
    ids=["numbers", "objects", "members", "lines", "blank lines"],
)
async def test_millions_of_tiny_events_are_refused(
    run_aggregator: Run, media_type: str, body: bytes
) -> None:
    async with bounded(run_aggregator) as aggregator:
        headers = f"Content-Type: {media_type}\r\nContent-Length: {len(body)}"
        answer = await send(aggregator, headers, iter([body]))
        answer.check(400, 413, 422)
