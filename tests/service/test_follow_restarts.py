"""Following on both backends while aggregators and followers are killed under publishes."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.backends import Database
from support.follow_command import LIMIT_S, following
from support.processes import Aggregator

from publisher import Event, Publisher
from subscriber import ReconnectPolicy, Wait, follow

Run = Callable[..., Aggregator]
SHORT = ("--stream-lifetime-ms", "1000")
PAYLOAD = {"text": "x" * 200}


class Publishing:
    """Publishes to topics in turn until it is stopped, over restarts of the aggregator."""

    def __init__(self, url: str) -> None:
        self.topics = ["orders.eu", "orders.us"]
        self.counts: dict[str, int] = {}
        self._url = url
        self._stops = False

    async def run(self) -> None:
        """Publish; every event is stored when this returns."""
        async with Publisher(self._url) as publisher:
            while not self._stops:
                for topic in list(self.topics):
                    await publisher.submit(Event(topic, PAYLOAD, "shop"))
                    self.counts[topic] = self.counts.get(topic, 0) + 1
                await asyncio.sleep(0.001)

    def stop(self) -> None:
        """Have it end."""
        self._stops = True


async def until(condition: Callable[[], bool], *running: asyncio.Task[None]) -> None:
    """Return once `condition` holds; fails if it does not in time, or if a task has ended."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            assert not [task for task in running if task.done()]
            await asyncio.sleep(0.01)


@pytest.mark.at_length("postgres")
async def test_nothing_is_missed_or_doubled_over_killed_aggregators_and_short_streams(
    run_aggregator: Run, database: Database
) -> None:
    first = run_aggregator(*database.arguments(), *SHORT)
    port = first.url.rpartition(":")[2]
    publishing = Publishing(first.url)
    publishes = asyncio.create_task(publishing.run())
    got: dict[str, list[int]] = {}
    waits: list[Wait] = []
    policy = ReconnectPolicy(first_wait_s=0.05)

    async def read() -> None:
        async with follow(
            first.url, "orders.*", start="start", policy=policy, on_wait=waits.append
        ) as events:
            async for event in events:
                got.setdefault(event.topic, []).append(event.offset)

    reads = asyncio.create_task(read())

    # One end by the server, at the end of the stream's life, and one cut off.
    await until(lambda: any(wait.reason == "the stream has ended" for wait in waits), reads)
    await until(lambda: len(got) == 2, reads)
    await asyncio.to_thread(first.kill)
    publishing.topics.append("orders.new")
    await asyncio.to_thread(run_aggregator, *database.arguments(), *SHORT, "--port", port)
    await until(lambda: len(got.get("orders.new", [])) > 10, reads)
    publishing.stop()
    await publishes
    total = sum(publishing.counts.values())
    await until(lambda: sum(map(len, got.values())) >= total, reads)
    reads.cancel()
    assert got == {topic: list(range(1, count + 1)) for topic, count in publishing.counts.items()}


async def test_position_file_loses_no_event_over_kill_9_of_the_follower(
    run_aggregator: Run, tmp_path: Path
) -> None:
    aggregator = run_aggregator("--database", str(tmp_path / "events.db"))
    publishing = Publishing(aggregator.url)
    publishes = asyncio.create_task(publishing.run())
    file = tmp_path / "position"
    begin = ("orders.*", "--from", "start", "--position-file", str(file))
    printed: set[tuple[str, int]] = set()
    # The first is killed before it has saved anything, with events printed.
    for life in range(3):
        output = tmp_path / f"lines-{life}"
        before = file.read_bytes() if life else b""
        with output.open("wb") as lines:
            async with following(aggregator.url, *begin, stdout=lines.fileno()) as command:
                await until(output_above(output, 50_000))
                if life:
                    await until(saved_anew(file, before))
                command.process.kill()
        printed |= complete_lines(output)
    publishing.stop()
    await publishes
    async with following(aggregator.url, *begin, "--until-caught-up") as command:
        status, out, err = await command.ended()
    assert (status, err) == (0, "")
    last = tmp_path / "last"
    last.write_text(out)
    assert printed | complete_lines(last) == {
        (topic, offset)
        for topic, count in publishing.counts.items()
        for offset in range(1, count + 1)
    }
    assert len(complete_lines(last)) < sum(publishing.counts.values())


def output_above(output: Path, size: int) -> Callable[[], bool]:
    """Whether a file has more bytes than that."""
    return lambda: output.stat().st_size > size


def saved_anew(file: Path, before: bytes) -> Callable[[], bool]:
    """Whether a file says something else than it did."""
    return lambda: file.read_bytes() not in {b"", before}


def complete_lines(output: Path) -> set[tuple[str, int]]:
    """The topics and offsets of the events in a file, but for a line that was cut off."""
    events = map(json.loads, output.read_bytes().split(b"\n")[:-1])
    return {(event["topic"], event["offset"]) for event in events}
