"""The shell commands of docs/use/recipes.md that follow topics, run as they are shown."""

import asyncio
import json
import os
import re
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from support.events import published
from support.load import Told, publish_until_taken, session, until
from support.processes import Aggregator
from support.programs import program
from support.recipes import commands
from support.streams import answering, chunked

Run = Callable[..., Aggregator]

LIMIT_S = 60.0
TO_A_FILE, TO_LOOK_ON = commands("Following from a shell")


@asynccontextmanager
async def shell(command: str, url: str, cwd: Path) -> AsyncIterator[asyncio.StreamReader]:
    """What a command prints, which is ended with all that it has started."""
    for name in ("curl", "jq", "sed"):
        program(name)
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-euc", f"url={url}\n{command}", cwd=cwd, stdout=PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            yield process.stdout
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def publish(url: str, *numbers: int, topic: str = "orders") -> None:
    async with session() as client:
        batch = [published(topic=topic, event_id=f"e-{number}") for number in numbers]
        await publish_until_taken(client, url, batch, Told())


def ids(file: Path) -> list[str]:
    """The ids of the events in a file, all of whose lines are whole."""
    return [json.loads(line)["event_id"] for line in file.read_text().splitlines()]


async def test_file_grows_as_events_come_over_killed_processes_on_both_sides(
    run_aggregator: Run, tmp_path: Path
) -> None:
    database = ("--database", str(tmp_path / "log.db"), "--stream-heartbeat-ms", "50")
    aggregator = run_aggregator(*database)
    file = tmp_path / "orders.ndjson"
    async with shell(TO_A_FILE, aggregator.url, tmp_path):
        await publish(aggregator.url, 1, 2)
        await until(lambda: file.exists() and len(ids(file)) == 2)
        await publish(aggregator.url, 3)
        await until(lambda: len(ids(file)) == 3)
        aggregator.kill()
        run_aggregator(*database, "--port", str(urlsplit(aggregator.url).port))
        await publish(aggregator.url, 4)
        await until(lambda: len(ids(file)) == 4)
    await publish(aggregator.url, 5)
    async with shell(TO_A_FILE, aggregator.url, tmp_path):
        await until(lambda: len(ids(file)) == 5)
    assert ids(file) == [f"e-{n}" for n in range(1, 6)]


async def test_half_a_line_is_not_written_and_is_asked_for_again(tmp_path: Path) -> None:
    first, second = (json.dumps({"offset": n, "text": "x" * 10}) + "\n" for n in (1, 2))
    answers = [
        chunked("application/x-ndjson", first + second[:-5], whole=False),
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy",
        chunked("application/x-ndjson", "\n" + second, whole=True),
    ]
    async with (
        answering(*answers) as (port, heads),
        shell(TO_A_FILE.replace("sleep 1", "sleep 0"), f"http://127.0.0.1:{port}", tmp_path),
    ):
        await until(lambda: len(heads) == 4)
    assert (tmp_path / "orders.ndjson").read_text() == first + second
    assert re.findall(r"after=(\d+)", "".join(heads)) == ["0", "1", "1", "2"]


async def test_looking_on_shows_the_newest_and_then_each_as_it_comes(
    run_aggregator: Run, tmp_path: Path
) -> None:
    url = run_aggregator("--stream-heartbeat-ms", "50").url
    await publish(url, *range(12))
    async with shell(TO_LOOK_ON, url, tmp_path) as out:
        lines = [await out.readline() for _ in range(10)]
        for number in (12, 13):
            await publish(url, number, topic="payments.eu")
            lines.append(await out.readline())
    assert b"".join(lines).decode().splitlines() == [
        *(f"orders {n + 1} e-{n}" for n in range(2, 12)),
        "payments.eu 1 e-12",
        "payments.eu 2 e-13",
    ]
