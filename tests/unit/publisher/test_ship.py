"""Files arrive whole, in order and once, whatever happens on the way."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from publisher.client import RetryPolicy
from publisher.lines import Piece
from publisher.log_events import line_bytes, log_event, read_fingerprint
from publisher.ship import FileRefused, ShipStopped, Totals, ship

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "publisher.md").read_text(encoding="utf-8")
CONTENT = b"".join(b"%d caf\xc3\xa9\r\n\xff\n" % number for number in range(50)) + b"end"
PATIENT = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=60.0)


class FakeAggregator:
    """Keeps events by (topic, event_id) as the contract has it, and can crash after a commit."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        self.url = ""
        self.crash_after_batches: int | None = None
        self.lose_every_second_answer = False
        self.batches = 0
        self.requests = 0
        self.arrived = asyncio.Event()
        self.released = asyncio.Event()
        self.released.set()

    async def publish(self, request: web.Request) -> web.StreamResponse:
        events = [json.loads(line) for line in (await request.read()).splitlines()]
        self.arrived.set()
        await self.released.wait()
        self.requests += 1
        if self._crashed():
            # A wait past every deadline: the publisher gives up without waiting.
            return web.Response(status=503, headers={"Retry-After": "100000"})
        self.batches += 1
        stored = conflicts = 0
        for event in events:
            key = (event["topic"], event["event_id"])
            if key not in self.events:
                self.events[key] = event | {"offset": len(self.events) + 1}
                stored += 1
            elif self.events[key]["payload"] != event["payload"]:
                conflicts += 1
        if self._crashed() or (self.lose_every_second_answer and self.requests % 2):
            assert request.transport is not None
            request.transport.close()
        return web.json_response(
            {
                "received": len(events),
                "unique_processed": stored,
                "duplicate_dropped": len(events) - stored,
                "conflicts": conflicts,
            }
        )

    def _crashed(self) -> bool:
        return self.crash_after_batches is not None and self.batches > self.crash_after_batches

    async def read(self, request: web.Request) -> web.StreamResponse:
        after = int(request.query["after"])
        found = [
            event
            for event in self.events.values()
            if event["topic"] == request.query["topic"]
            and event["source"] == request.query["source"]
            and event["offset"] > after
        ]
        page = found[: min(int(request.query["limit"]), 7)]
        headers = {}
        if len(found) > len(page):
            following = request.rel_url.update_query(after=page[-1]["offset"])
            headers["Link"] = f'<{following}>; rel="next"'
        return web.json_response(page, headers=headers)

    def content(self, source: str = "app.log") -> bytes:
        """Give the bytes of a source in the order in which its events were stored."""
        return b"".join(
            line_bytes(event["payload"])
            for event in self.events.values()
            if event["source"] == source
        )


@asynccontextmanager
async def aggregating() -> AsyncIterator[FakeAggregator]:
    fake = FakeAggregator()
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/publish", fake.publish)
    app.router.add_get("/events", fake.read)
    async with TestServer(app) as server:
        fake.url = str(server.make_url("/"))
        yield fake


@pytest.fixture
async def aggregator() -> AsyncIterator[FakeAggregator]:
    async with aggregating() as fake:
        yield fake


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(CONTENT)
    return path


def rewrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def shipped(aggregator: FakeAggregator, *paths: Path, source: str | None = None) -> Totals:
    totals = Totals()
    await ship(paths, aggregator.url, "logs", totals, source=source, batch_events=8, policy=PATIENT)
    return totals


async def test_a_file_arrives_whole_and_in_order(aggregator: FakeAggregator, log: Path) -> None:
    totals = await shipped(aggregator, log)
    assert aggregator.content() == CONTENT
    expected = "sent 101 lines in 13 batches: stored 101, duplicates 0, conflicts 0, retries 0"
    assert str(totals) == expected


async def test_shipping_again_adds_nothing(aggregator: FakeAggregator, log: Path) -> None:
    await shipped(aggregator, log)
    totals = await shipped(aggregator, log, log)
    assert (totals.stored, totals.duplicates, totals.conflicts) == (0, 202, 0)
    assert aggregator.content() == CONTENT


async def test_lost_answers_cost_nothing(aggregator: FakeAggregator, log: Path) -> None:
    aggregator.lose_every_second_answer = True
    totals = await shipped(aggregator, log)
    assert aggregator.content() == CONTENT
    assert (totals.retries, totals.stored, totals.duplicates) == (13, 0, 101)


async def test_a_crash_half_way_and_once_more(aggregator: FakeAggregator, log: Path) -> None:
    aggregator.crash_after_batches = 5
    totals = Totals()
    with pytest.raises(ShipStopped, match=r"app\.log' from byte 230 on .* gave up after 2 tries"):
        await ship([log], aggregator.url, "logs", totals, batch_events=8, policy=PATIENT)
    assert (totals.stored, totals.batches) == (40, 5)
    # The batch under way was committed although nobody was told.
    assert len(aggregator.events) == 48
    aggregator.crash_after_batches = None
    totals = await shipped(aggregator, log)
    assert (totals.stored, totals.duplicates) == (53, 48)
    assert aggregator.content() == CONTENT


async def test_a_long_line_is_cut_and_counted_once(
    aggregator: FakeAggregator, tmp_path: Path
) -> None:
    path = tmp_path / "app.log"
    path.write_bytes("é".encode() * 500_000 + b"\nend\n")
    totals = await shipped(aggregator, path)
    assert aggregator.content() == path.read_bytes()
    assert str(totals).startswith("sent 2 lines as 9 events in 2 batches: ")


async def test_nothing_in_an_empty_file(aggregator: FakeAggregator, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    totals = await shipped(aggregator, tmp_path / "a", tmp_path / "b", source="app")
    assert str(totals).startswith("sent 0 lines in 0 batches: ")
    assert aggregator.requests == 0


async def test_files_that_would_share_ids_are_refused(
    aggregator: FakeAggregator, tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / name).write_text(f"heading\nof {name}\n")
    with pytest.raises(FileRefused, match="have the same source 'app' and the same first line"):
        await shipped(aggregator, tmp_path / "a", tmp_path / "b", source="app")
    assert aggregator.requests == 0
    totals = await shipped(aggregator, tmp_path / "a", tmp_path / "b")
    assert totals.stored == 4


async def test_a_missing_file_is_known_before_anything_is_sent(
    aggregator: FakeAggregator, log: Path
) -> None:
    with pytest.raises(FileRefused, match="No such file or directory"):
        await shipped(aggregator, log, log.with_name("missing"))
    assert aggregator.requests == 0


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


async def test_the_page_restores_what_grew_and_was_rotated(
    aggregator: FakeAggregator, log: Path, tmp_path: Path
) -> None:
    await shipped(aggregator, log)
    rewrite(log, CONTENT + b" of day one\n")
    await shipped(aggregator, log)
    rewrite(log, b"day two\n")
    await shipped(aggregator, log)
    names: dict[str, Any] = {}
    exec(compile(block("python"), "publisher.md", "exec"), names)
    restored = tmp_path / "restored"
    restored.mkdir()
    url = aggregator.url.rstrip("/")
    await asyncio.to_thread(names["restore"], url, "logs", "app.log", restored)
    contents = {path.read_bytes() for path in restored.iterdir()}
    assert contents == {CONTENT + b" of day one\n", b"day two\n"}


def test_the_event_on_the_page_is_what_is_sent(tmp_path: Path) -> None:
    shown = json.loads(block("json"))
    path = tmp_path / "app.log"
    path.write_bytes(b"2026-03-01 start\nmore\n")
    with path.open("rb") as file:
        fingerprint = read_fingerprint(file, "app.log")
    piece = Piece(1234, "GET /café 200".encode(), b"\n")
    event = log_event(piece, topic="logs", source="app.log", fingerprint=fingerprint)
    assert shown["event_id"] == event.event_id
    assert shown["payload"] == event.payload


async def start(aggregator: FakeAggregator, *arguments: str | Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "publisher", "ship", "--topic", "logs", "--url", aggregator.url],
        *arguments,
        cwd=ROOT,
        # Its log lines about slow callbacks are not the publisher's.
        env={**os.environ, "PYTHONDEVMODE": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(aggregator: FakeAggregator, *arguments: str | Path) -> tuple[int | None, str, str]:
    command = await start(aggregator, *arguments)
    out, err = await command.communicate()
    return command.returncode, out.decode(), err.decode()


async def test_the_command_says_what_it_did(aggregator: FakeAggregator, log: Path) -> None:
    status, out, err = await run(aggregator, log, "--batch-events", "100", "--source", "a b")
    assert (status, err) == (0, "")
    assert out == "sent 101 lines in 2 batches: stored 101, duplicates 0, conflicts 0, retries 0\n"
    assert aggregator.content("a b") == CONTENT


async def test_a_conflict_is_status_1(aggregator: FakeAggregator, log: Path) -> None:
    await shipped(aggregator, log)
    rewrite(log, CONTENT.replace(b"\r\n\xff\n2", b"\r\n\xfe\n2"))
    status, out, err = await run(aggregator, log)
    assert status == 1
    assert "stored 0, duplicates 90, conflicts 11, " in out
    assert "11 conflicts: another line with the same id was stored before and is kept" in err
    assert "unning the same command again is safe" in err


async def test_what_is_given_up_is_status_1(aggregator: FakeAggregator, log: Path) -> None:
    aggregator.crash_after_batches = -1
    status, out, err = await run(aggregator, log)
    assert (status, out) == (1, "")
    assert err == (
        f"python -m publisher ship: '{log}' from byte 0 on was not sent: gave up after 1 try "
        "(deadline: 300 s), the last failure: 503 Service Unavailable (Retry-After: 100,000 s); "
        "running the same command again is safe: what is stored already is not stored twice\n"
    )


async def test_an_interrupt_is_status_130(aggregator: FakeAggregator, log: Path) -> None:
    aggregator.released.clear()
    command = await start(aggregator, log)
    await aggregator.arrived.wait()
    command.send_signal(signal.SIGINT)
    out, err = await command.communicate()
    aggregator.released.set()
    assert (command.returncode, out) == (130, b"")
    assert err.startswith(b"python -m publisher ship: interrupted; running the same command again")
    assert err.count(b"\n") == 1
