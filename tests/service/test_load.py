"""The load generator's command against the real aggregator, undisturbed and killed."""

import asyncio
import json
import os
import pty
import re
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from support.backends import Database
from support.load import get_json, publish_to_topics, read_log, session
from support.load_command import ROOT, load, started
from support.processes import Aggregator
from support.proxy import Forward, hang_up, proxy
from support.sockets import port_of, reserved_port

Run = Callable[..., Aggregator]

TOPICS = ("auth", "orders", "payment")


async def test_a_run_agrees_and_says_what_stats_says(
    database: Database, run_aggregator: Run, tmp_path: Path
) -> None:
    url = run_aggregator(*database.arguments()).url
    ended = await load(
        url,
        tmp_path,
        *("--events", "3000", "--conflicts", "0.05", "--batch", "30"),
        *("--chart", str(tmp_path / "chart.html")),
    )
    assert (ended.status, ended.err) == (0, "")
    async with session() as client:
        stats = await get_json(client, f"{url}/stats")
        logs = {topic: await read_log(client, url, topic) for topic in TOPICS}
    report = ended.report
    assert report["agrees"] is True
    assert report["differences"] == []
    assert report["backend"] == database.backend
    assert report["counts"] == {
        "received": stats["received"],
        "unique": stats["unique_processed"],
        "conflicts": stats["conflicts"],
        "lost_received": 0,
        "lost_conflicts": 0,
    }
    assert report["counts"] == report["counts"] | {
        "received": 3000,
        "unique": 1950,
        "conflicts": 150,
    }
    assert report["verdicts"] == {"stored": 1950, "duplicate": 900, "conflict": 150, "rejected": 0}
    assert report["read_back"] == sum(map(len, logs.values())) == 1950
    assert report["retries"] == {"total": 0, "reasons": {}}
    assert set(report["checks"].values()) == {0}
    assert sum(second["events"] for second in report["series"]) == 3000
    assert "✓ the log read back holds each planned event once" in ended.out
    assert "<svg" in (tmp_path / "chart.html").read_text()


async def test_a_second_run_on_a_log_that_has_one_and_more_topics_than_stats_lists_agrees(
    database: Database, run_aggregator: Run, tmp_path: Path
) -> None:
    url = run_aggregator(*database.arguments()).url
    assert (await load(url, tmp_path, "--events", "500", "--batch", "10")).status == 0
    async with session() as client:
        await publish_to_topics(client, url, 1_001)
    second = await load(url, tmp_path, "--events", "500", "--batch", "10", "--concurrency", "1")
    assert second.status == 0
    assert second.report["checks"]["known_offsets"] == 0


async def test_the_same_run_again_does_not_start(url: str, tmp_path: Path) -> None:
    named = ("--events", "500", "--batch", "10", "--run", "named")
    first = await load(url, tmp_path, *named)
    assert first.status == 0
    assert first.report["settings"]["run"] == "named"
    again = await load(url, tmp_path, *named)
    assert (again.status, again.out) == (2, "")
    assert "is in the log already, so run 'named' was sent before: choose another" in again.err


async def test_an_open_loop_agrees_and_tells_both_latencies(
    database: Database, run_aggregator: Run, tmp_path: Path
) -> None:
    url = run_aggregator(*database.arguments()).url
    ended = await load(
        url,
        tmp_path,
        *("--events", "1000", "--batch", "10", "--rate", "2000"),
        *("--concurrency", "8", "--conflicts", "0.05"),
    )
    assert ended.status == 0
    assert "8 connections, open loop, 2,000 events/s" in ended.out
    assert "service time p50" in ended.out
    report = ended.report
    for name in ("p50", "p90", "p99", "p99.9", "max"):
        assert report["latency_ms"][name] >= report["service_ms"][name] > 0
    # The last request is due 495 ms after the start.
    assert report["elapsed_s"] >= 0.495


@pytest.fixture
def port() -> Iterator[int]:
    """A port that stays the test's own while its aggregator is away."""
    with reserved_port() as reserved:
        yield port_of(reserved)


@pytest.mark.at_length("postgres")
async def test_an_aggregator_killed_three_times_on_the_way_costs_retries_and_nothing_else(
    database: Database, run_aggregator: Run, tmp_path: Path, port: int
) -> None:
    arguments = [*database.arguments(), "--port", str(port)]
    aggregator = run_aggregator(*arguments)
    running = asyncio.create_task(
        load(
            aggregator.url,
            tmp_path,
            *("--events", "20000", "--duplicates", "0.4", "--conflicts", "0.03"),
            *("--batch", "50", "--rate", "12000", "--concurrency", "16"),
        )
    )
    async with session() as client:
        for kill in range(1, 4):
            received = 0
            while received < kill * 4500:
                assert not running.done(), running.result()
                received = (await get_json(client, f"{aggregator.url}/stats"))["received"]
            aggregator.kill()
            aggregator = await asyncio.to_thread(run_aggregator, *arguments)
        ended = await running
        stats = await get_json(client, f"{aggregator.url}/stats")
    assert ended.status == 0, ended
    report = ended.report
    assert report["counts"]["unique"] == stats["unique_processed"] == 11_400
    assert report["counts"]["received"] == stats["received"]
    assert report["counts"]["lost_received"] == stats["received"] - 20_000
    assert report["counts"]["lost_conflicts"] == stats["conflicts"] - 600
    assert report["retries"]["total"] == sum(report["retries"]["reasons"].values()) > 0
    assert report["retries"]["total"] == sum(second["retries"] for second in report["series"])
    assert re.search(r"retries      [1-9]", ended.out)


async def test_lost_answers_are_explained(url: str, tmp_path: Path) -> None:
    requests: list[int] = []

    async def lose_some(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        if request.path != "/publish":
            return await forward()
        requests.append(1)
        number = len(requests)
        response = await forward()
        return hang_up(request) if number % 5 == 0 and number <= 25 else response

    async with proxy(url, lose_some) as front:
        ended = await load(front, tmp_path, "--events", "600", "--batch", "20")
    assert ended.status == 0, ended
    assert ended.report["counts"]["lost_received"] == 100
    assert "received     700 = 600 sent + 100 of tries whose answer was lost" in ended.out


async def test_a_run_that_is_refused_ends_with_what_is_known(url: str, tmp_path: Path) -> None:
    requests: list[int] = []

    async def refuse(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        requests.append(1)
        if request.path == "/publish" and len(requests) > 9:
            return web.json_response({"detail": "not today"}, status=403)
        return await forward()

    async with proxy(url, refuse) as front:
        ended = await load(
            front, tmp_path, "--events", "600", "--batch", "20", "--concurrency", "1"
        )
    assert ended.status == 1
    assert re.fullmatch(
        r"python -m publisher load: the run ended early: "
        r"request \d of 30: the answer is 403: not today \(request id [0-9a-f-]{36}\)\n",
        ended.err,
    )
    assert "The run ended early, so this is not all: request" in ended.out
    assert "the answer is 403: not today (request id " in ended.report["ended_early"]
    assert 0 < ended.report["answered"]["events"] < 600
    assert ended.report["counts"] is None


async def test_ctrl_c_ends_it_with_one_sentence(url: str) -> None:
    command = await started(url, "--events", "100000", "--rate", "1000", "--batch", "10")
    async with session() as client:
        received = 0
        while not received:
            received = (await get_json(client, f"{url}/stats"))["received"]
    command.send_signal(signal.SIGINT)
    out, err = await command.communicate()
    assert (command.returncode, out) == (130, b"")
    assert err.decode() == (
        "python -m publisher load: interrupted: what was sent so far is not checked, and stays in "
        "the log\n"
    )


async def test_a_terminal_that_knows_no_ticks_gets_letters(url: str) -> None:
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "publisher", "load", "--url", url, "--events", "100"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    out, _ = await command.communicate()
    assert command.returncode == 0
    assert b"\nok    every verdict is the one planned" in out


async def test_a_password_in_the_url_is_told_to_nobody(url: str, tmp_path: Path) -> None:
    secret = url.replace("http://", "http://somebody:hush@")
    ended = await load(secret, tmp_path, "--events", "100", "--chart", str(tmp_path / "chart.html"))
    assert ended.status == 0
    assert ended.report["settings"]["url"].rstrip("/") == url
    assert "hush" not in ended.out + ended.err + json.dumps(ended.report)
    assert "hush" not in (tmp_path / "chart.html").read_text()


async def test_on_a_terminal_there_is_a_progress_bar_and_the_table_is_apart_from_it(
    url: str,
) -> None:
    terminal, its_end = pty.openpty()
    termios.tcsetwinsize(its_end, (24, 100))
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "publisher", "load", "--url", url, "--events", "500"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=its_end,
    )
    out, _ = await command.communicate()
    # Only while its other end is open can what was written be read.
    seen = os.read(terminal, 65_536).decode()
    os.close(its_end)
    os.close(terminal)
    assert command.returncode == 0
    assert "sending: " in seen
    assert "500" in seen
    assert "sending" not in out.decode()
