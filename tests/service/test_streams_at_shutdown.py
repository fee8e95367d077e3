"""SIGTERM while an answer is streamed: whoever reads has all of it, whoever does not is told."""

import asyncio
import json
import signal
from collections.abc import Callable

import pytest
from support.backends import Database
from support.events import event
from support.processes import Aggregator, wait_for

Run = Callable[..., Aggregator]

pytestmark = pytest.mark.parametrize("backend", ["sqlite"])

_EVENTS = 12_000
_PAYLOAD = '{"text": "%s"}' % ("x" * 1000)
"""Much more in all than a socket holds: the end comes while most of it is still in the log."""

_LIMIT_S = 60
_REQUEST = b"GET /events?topic=large HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n"


async def fill(database: Database) -> None:
    store = database.store()
    await store.open()
    for start in range(0, _EVENTS, 2000):
        await store.append([event("large", f"e-{start + n}", _PAYLOAD) for n in range(2000)])
    await store.aclose()


async def begin(
    aggregator: Aggregator, version: bytes = b"1.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for the stream, and read no more than its head."""
    host, port = aggregator.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**16)
    writer.write(_REQUEST.replace(b"HTTP/1.1", b"HTTP/" + version))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/%b 200 " % version)
    return reader, writer


async def read_chunks(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """Read the body; return it, and whether its last chunk came."""
    body = []
    try:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body.append(await reader.readexactly(size))
            await reader.readexactly(2)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b"".join(body), False
    return b"".join(body), True


@pytest.fixture
async def filled(database: Database) -> Database:
    await fill(database)
    return database


async def test_a_stream_that_is_read_goes_on_to_its_end(
    filled: Database, run_aggregator: Run
) -> None:
    aggregator = run_aggregator(*filled.arguments())
    async with asyncio.timeout(_LIMIT_S):
        reader, writer = await begin(aggregator)
        stopped = asyncio.create_task(asyncio.to_thread(aggregator.stop, signal.SIGTERM))
        await asyncio.to_thread(
            wait_for, lambda: b'"draining"' in aggregator.written(), "the end to begin"
        )
        body, complete = await read_chunks(reader)
        assert await stopped == 0
        writer.close()
    assert complete
    offsets = [json.loads(line)["offset"] for line in body.splitlines()]
    assert offsets == list(range(1, _EVENTS + 1))


async def test_a_stream_that_nobody_reads_ends_with_the_process_and_without_its_last_chunk(
    filled: Database, run_aggregator: Run
) -> None:
    aggregator = run_aggregator(*filled.arguments(), "--drain-timeout-ms", "100")
    async with asyncio.timeout(_LIMIT_S):
        reader, writer = await begin(aggregator)
        assert await asyncio.to_thread(aggregator.stop, signal.SIGTERM) == 0
        body, complete = await read_chunks(reader)
        writer.close()
    assert not complete
    assert len(body.splitlines()) < _EVENTS
    (aborted,) = aggregator.log_lines("response_aborted")
    assert aborted["reason"] == "the aggregator is shutting down"
    (line,) = [each for each in aggregator.log_lines("request") if each["path"] == "/events"]
    assert (line["status"], line["complete"]) == (0, False)
    assert line["events"] < _EVENTS


async def test_with_http_1_0_a_stream_that_is_cut_off_at_the_end_is_reset(
    filled: Database, run_aggregator: Run
) -> None:
    aggregator = run_aggregator(*filled.arguments(), "--drain-timeout-ms", "100")
    async with asyncio.timeout(_LIMIT_S):
        reader, writer = await begin(aggregator, b"1.0")
        assert await asyncio.to_thread(aggregator.stop, signal.SIGTERM) == 0
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
