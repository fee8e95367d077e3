"""Whoever reads the log may be slow or gone: the aggregator's work goes on."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import aiohttp
from support.command import environment
from support.load import LIMIT_S, Told, batch_of, get_json, publish, session


class Piped:
    """A running aggregator whose log goes into a pipe."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], errors: IO[bytes]) -> None:
        self.process, self.log, self.errors = process, log, errors
        self.url = ""
        while not self.url:
            self.url = json.loads(log.readline()).get("url", "")

    async def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, LIMIT_S)


@contextmanager
def piped(cwd: Path) -> Iterator[Piped]:
    """An aggregator whose log was read as far as the line that says where it listens."""
    with subprocess.Popen(
        [sys.executable, "-m", "aggregator", "--port", "0"],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield Piped(process, process.stdout, process.stderr)
        finally:
            process.kill()


async def publish_many(client: aiohttp.ClientSession, url: str, requests: int) -> None:
    told = Told()
    for start in range(0, requests, 50):
        batches = [batch_of("orders", [f"e-{start + number}"]) for number in range(50)]
        statuses = await asyncio.gather(*(publish(client, url, b, told) for b in batches))
        assert set(statuses) == {200}
    assert (await get_json(client, f"{url}/stats"))["received"] == requests


async def test_a_reader_that_stops_reading_holds_nothing_up(tmp_path: Path) -> None:
    # A pipe holds 64 KiB: a few hundred lines.
    requests = 1_000
    with piped(tmp_path) as aggregator:
        async with session() as client:
            await publish_many(client, aggregator.url, requests)
        assert await aggregator.stop() == 0
        rest = aggregator.log.read()
        assert rest.count(b'"event":"request"') < requests, "the pipe was never full"
        assert aggregator.errors.read() == b""


async def test_a_reader_that_goes_away_stops_nothing(tmp_path: Path) -> None:
    with piped(tmp_path) as aggregator:
        aggregator.log.close()
        async with session() as client:
            await publish_many(client, aggregator.url, 100)
        assert await aggregator.stop() == 0
        assert b"Traceback" not in aggregator.errors.read()
