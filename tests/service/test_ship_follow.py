"""A log that is written, rotated and cut short, followed by a shipper that is killed."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.backends import Database
from support.load import LIMIT_S, check_conservation, get_json, read_log, session, until
from support.log_writer import LogWriter
from support.processes import Aggregator

from publisher.ship.files.content import CHUNK_BYTES
from publisher.ship.log_events import line_bytes

Run = Callable[..., Aggregator]

KILLS = 5
BATCH_EVENTS = 50


class Shipper:
    """Runs `ship --follow`, and runs it again."""

    def __init__(self, url: str, directory: Path, *names: Path | str) -> None:
        self._arguments = [
            *("-m", "publisher", "ship", "--follow", "--url", url, "--topic", "logs"),
            *("--batch-events", str(BATCH_EVENTS), "--source", "app"),
            *("--checkpoint", str(directory / "checkpoint"), *map(str, names)),
        ]
        self._told = directory / "told"
        self._running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._told.open("ab") as told:
            self._running = await asyncio.create_subprocess_exec(
                sys.executable, *self._arguments, stdout=told, stderr=told
            )

    async def end(self, number: int) -> int:
        """Send it a signal, and return its exit status once it has ended."""
        assert self._running is not None
        assert self._running.returncode is None, self._told.read_text()
        self._running.send_signal(number)
        return await self._running.wait()

    def told(self) -> str:
        """All that it wrote so far."""
        return self._told.read_text()


@asynccontextmanager
async def shipping(url: str, directory: Path, *names: Path | str) -> AsyncIterator[Shipper]:
    shipper = Shipper(url, directory, *names)
    try:
        yield shipper
    finally:
        if shipper._running is not None and shipper._running.returncode is None:
            await shipper.end(signal.SIGKILL)


async def stats_of(client: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    stats: dict[str, Any] = await get_json(client, f"{url}/stats")
    check_conservation(stats)
    return stats


async def until_stored(client: aiohttp.ClientSession, url: str, lines: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while (await stats_of(client, url))["unique_processed"] < lines:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def line_of(event: dict[str, Any]) -> bytes:
    return line_bytes(event["payload"])


def place_of(event: dict[str, Any]) -> tuple[str, int]:
    """The content of an event, and its place there."""
    return event["event_id"].split("-")[0], event["payload"]["position"]


def by_content(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events by their contents, those of each in the order in which they were stored."""
    return sorted(events, key=lambda event: place_of(event)[0])


async def lines_of(client: aiohttp.ClientSession, url: str) -> list[bytes]:
    return [line_of(event) for event in await read_log(client, url, "logs")]


async def test_every_line_arrives_once_whatever_is_killed_and_rotated(
    database: Database, run_aggregator: Run, tmp_path: Path
) -> None:
    chance = random.Random(11)
    url = run_aggregator(*database.arguments()).url
    log = tmp_path / "logs" / "app.log"
    log.parent.mkdir()
    writer = LogWriter(log, seed=11)
    # A content that comes and goes while nothing runs is under a name that is shipped, too.
    names = log.with_name("app.log*")
    async with session() as client, shipping(url, tmp_path, names) as shipper:
        for _ in range(KILLS):
            await shipper.start()
            # Some are killed before they have begun, some in the midst of it.
            if chance.random() < 0.8:
                before = (await stats_of(client, url))["received"]
                async with asyncio.timeout(LIMIT_S):
                    while (await stats_of(client, url))["received"] == before:
                        writer.anything()
                        await asyncio.sleep(0.005)
            for _ in range(chance.randrange(30)):
                writer.anything()
                await asyncio.sleep(chance.random() / 50)
            await shipper.end(signal.SIGKILL)
            for _ in range(chance.randrange(8)):
                writer.anything()
        await shipper.start()
        await until_stored(client, url, len(writer.written))
        assert await shipper.end(signal.SIGTERM) == 0, shipper.told()
        # Not their order: between files there is none.
        assert sorted(await lines_of(client, url)) == sorted(writer.written)
        stats = await stats_of(client, url)
    writer.close()
    assert stats["conflicts"] == 0
    # What is sent again is what the checkpoint was not behind: two requests and a chunk at most.
    again = 2 * BATCH_EVENTS + CHUNK_BYTES // min(map(len, writer.written))
    assert stats["duplicate_dropped"] <= again * KILLS


async def test_logs_of_a_pattern_are_followed_over_every_kind_of_rotation(
    database: Database, run_aggregator: Run, tmp_path: Path
) -> None:
    url = run_aggregator(*database.arguments()).url
    directory = tmp_path / "logs"
    directory.mkdir()
    writer = LogWriter(directory / "app.log", seed=5)
    # The pattern matches what rotation makes of the log, too.
    async with session() as client, shipping(url, tmp_path, directory / "app.log*") as shipper:
        await shipper.start()
        for rotate in (writer.rename, writer.copy_and_truncate, writer.truncate, writer.rename):
            writer.write(300)
            if rotate == writer.truncate:
                # What nobody has read when a file is emptied is gone.
                await until_stored(client, url, len(writer.written))
            rotate()
            writer.write(20)
            await until_stored(client, url, len(writer.written))
        assert await shipper.end(signal.SIGTERM) == 0, shipper.told()
        # In the order of each content.
        events = await read_log(client, url, "logs")
        assert sorted(map(line_of, events)) == sorted(writer.written)
        assert sorted(map(place_of, events)) == [place_of(event) for event in by_content(events)]
        stats = await stats_of(client, url)
    writer.close()
    assert stats["received"] == len(writer.written), shipper.told()
    assert f"stored {len(writer.written):,}, duplicates 0, conflicts 0" in shipper.told()


@pytest.mark.at_length("postgres")
async def test_a_log_that_comes_while_the_aggregator_is_away_waits_for_it(
    database: Database, run_aggregator: Run, tmp_path: Path
) -> None:
    first = run_aggregator(*database.arguments())
    port = first.url.rpartition(":")[2]
    first.kill()
    log = tmp_path / "app.log"
    async with shipping(first.url, tmp_path, log) as shipper:
        await shipper.start()
        await until(lambda: "is not there" in shipper.told())
        writer = LogWriter(log, seed=6)
        writer.write(100)
        await until(lambda: "Connection refused; trying again" in shipper.told())
        # A stop does not wait for an aggregator that may never come.
        assert await shipper.end(signal.SIGTERM) == 0, shipper.told()
        url = run_aggregator("--port", port, *database.arguments()).url
        await shipper.start()
        async with session() as client:
            await until_stored(client, url, len(writer.written))
            assert await shipper.end(signal.SIGINT) == 0, shipper.told()
            assert await lines_of(client, url) == writer.written
    writer.close()
