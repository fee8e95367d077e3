"""The Python of the recipes page that follows topics, over all that may end a stream."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from support.events import published
from support.load import Told, publish_until_taken, session
from support.processes import Aggregator
from support.recipes import commands
from support.streams import answering, chunked

Run = Callable[..., Aggregator]

_URL = "http://127.0.0.1:8080"
_PAUSE = "time.sleep(1)"
_LIMIT_S = 60.0

TOPICS = ["orders", "payments.eu"]


@asynccontextmanager
async def recipe(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The code of the page as a process, for another address and without its pause."""
    (code,) = commands("Following in Python", "python")
    assert _URL in code
    assert _PAUSE in code
    code = code.replace(_URL, url).replace(_PAUSE, "time.sleep(0)")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def lines(process: asyncio.subprocess.Process, count: int) -> list[str]:
    assert process.stdout is not None
    return [(await process.stdout.readline()).decode().rstrip("\n") for _ in range(count)]


async def publish(url: str, *numbers: int) -> None:
    async with session() as client:
        for number in numbers:
            for topic in TOPICS:
                batch = [published(topic=topic, event_id=f"e-{number}", payload={"n": number})]
                await publish_until_taken(client, url, batch, Told())


def printed(*offsets: int) -> list[str]:
    """What the recipe prints of events of both topics."""
    return [f"{topic} {n} {{'n': {n}}}" for topic in TOPICS for n in offsets]


async def test_events_come_at_once_and_once_over_a_killed_aggregator(
    run_aggregator: Run, tmp_path: Path
) -> None:
    database = ("--database", str(tmp_path / "log.db"))
    aggregator = run_aggregator(*database)
    await publish(aggregator.url, 1, 2)
    async with recipe(aggregator.url) as process:
        before = await lines(process, 4)
        await publish(aggregator.url, 3)
        before += await lines(process, 2)
        aggregator.kill()
        run_aggregator(*database, "--port", str(urlsplit(aggregator.url).port))
        await publish(aggregator.url, 4, 5)
        after = await lines(process, 4)
    assert sorted(before) == printed(1, 2, 3)
    assert sorted(after) == printed(4, 5)


def block(offset: int, event: str = "") -> str:
    data = json.dumps({"topic": "orders", "offset": offset, "payload": {}})
    return f"{event}id: {offset}\ndata: {data}\n\n"


async def test_half_a_block_is_dropped_and_a_refusal_ends_it() -> None:
    answers = [
        chunked("text/event-stream", "retry: 1000\n" + block(1) + block(2)[:-1], whole=False),
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        chunked("text/event-stream", 'event: unavailable\ndata: {"reason":"x"}\n\n', whole=True),
        chunked("text/event-stream", ":\n:\n" + block(2) + ":\n", whole=True),
        b"HTTP/1.1 422 Unprocessable Entity\r\nContent-Length: 9\r\n\r\nno, never",
    ]
    async with answering(*answers) as (port, heads), recipe(f"http://127.0.0.1:{port}") as process:
        out, error = await process.communicate()
    assert out.decode().splitlines() == ["orders 1 {}", "orders 2 {}"]
    assert error.decode() == "no, never\n"
    told = [head.lower().partition("last-event-id: ")[2].partition("\r")[0] for head in heads]
    assert told == ["", "1", "1", "1", "2"]


async def test_a_gap_ends_it() -> None:
    gap = 'event: gap\nid: 0\ndata: {"topic":"orders"}\n\n'
    answer = chunked("text/event-stream", gap, whole=True)
    async with answering(answer) as (port, _), recipe(f"http://127.0.0.1:{port}") as process:
        _, error = await process.communicate()
    assert error.decode() == 'not in the log: {"topic":"orders"}\n'
