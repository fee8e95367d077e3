"""SIGTERM and SIGINT: what was taken is answered, what was answered is kept, and it ends."""

import asyncio
import itertools
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from service.conftest import OwnDatabase
from support.backends import Database
from support.load import (
    LIMIT_S,
    Batch,
    Told,
    batch_of,
    check_kept,
    keys_of,
    publish,
    session,
    until,
    until_acknowledged,
    until_answer,
)
from support.processes import Aggregator, wait_for
from support.streams import listening

Run = Callable[..., Aggregator]
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)


async def publish_until_it_is_gone(
    client: aiohttp.ClientSession, url: str, topic: str, told: Told, seed: int
) -> None:
    """Publish new ids, and earlier ones again, until a request is not answered 200."""
    chance = random.Random(seed)
    mine = [f"{seed}-{number}" for number in range(5)]
    for number in itertools.count(len(mine)):
        mine.append(f"{seed}-{number}")
        batch = batch_of(topic, [mine[-1], *chance.sample(mine, 4)])
        if await publish(client, url, batch, told) != 200:
            return


@SIGNALS
async def test_a_signal_under_load_loses_nothing_that_was_acknowledged(
    run_aggregator: Run, database: Database, number: signal.Signals
) -> None:
    told, topics = Told(), ["orders", "visits"]
    aggregator = run_aggregator(*database.arguments())
    async with session() as client:
        publishers = [
            asyncio.create_task(
                publish_until_it_is_gone(client, aggregator.url, topics[seed % 2], told, seed)
            )
            for seed in range(8)
        ]
        await until_acknowledged(told, 50)
        assert await asyncio.to_thread(aggregator.stop, number) == 0
        await asyncio.gather(*publishers)
        assert b"Traceback" not in aggregator.written()

        again = run_aggregator(*database.arguments())
        stored, stats = await check_kept(client, again.url, told, topics)
    # A request that the end came upon is stored and counted as a whole, or not at all.
    late = sum(len(batch) for batch in told.uncertain if keys_of(batch) <= set(stored))
    assert told.received <= stats["received"] <= told.received + late


@asynccontextmanager
async def two_requests_queued(
    client: aiohttp.ClientSession, url: str, told: Told
) -> AsyncIterator["list[asyncio.Task[int]]"]:
    """Fill a queue of ten events, whose database is locked, with two requests."""
    batches: list[Batch] = [batch_of("orders", [f"{n}-{m}" for m in range(5)]) for n in range(2)]
    tasks = [asyncio.create_task(publish(client, url, batch, told)) for batch in batches]
    await until_answer(client, f"{url}/ready", 503, "queue is full")
    yield tasks


@SIGNALS
async def test_requests_in_the_queue_when_the_signal_comes_are_stored_and_answered(
    run_aggregator: Run, tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "events.db"
    arguments = ("--database", str(file), "--max-batch-events", "5", "--queue-max-events", "10")
    aggregator = run_aggregator(*arguments, "--sqlite-busy-timeout-ms", "60000")
    told = Told()
    lock = sqlite3.connect(file, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    async with session() as client, two_requests_queued(client, aggregator.url, told) as tasks:
        aggregator.process.send_signal(number)
        await until(lambda: bool(aggregator.log_lines("draining")))
        lock.execute("ROLLBACK")
        lock.close()
        assert await asyncio.gather(*tasks) == [200, 200]
        assert await asyncio.to_thread(aggregator.process.wait, LIMIT_S) == 0
        again = run_aggregator(*arguments)
        _, stats = await check_kept(client, again.url, told, ["orders"])
        assert stats["received"] == 10


async def test_a_publish_on_an_open_connection_while_draining_is_refused_at_once(
    run_aggregator: Run, tmp_path: Path
) -> None:
    file = tmp_path / "events.db"
    arguments = ("--database", str(file), "--max-batch-events", "5", "--queue-max-events", "10")
    aggregator = run_aggregator(*arguments, "--sqlite-busy-timeout-ms", "60000")
    told, late = Told(), Told()
    lock = sqlite3.connect(file, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    async with session() as client, two_requests_queued(client, aggregator.url, told) as tasks:
        # Afterwards this connection is kept alive.
        assert (await client.get(f"{aggregator.url}/health")).status == 200
        aggregator.process.send_signal(signal.SIGTERM)
        await until(lambda: bool(aggregator.log_lines("draining")))
        assert await publish(client, aggregator.url, batch_of("late", ["e-1"]), late) == 503
        lock.execute("ROLLBACK")
        lock.close()
        assert await asyncio.gather(*tasks) == [200, 200]
        assert await asyncio.to_thread(aggregator.process.wait, LIMIT_S) == 0
        again = run_aggregator(*arguments)
        _, stats = await check_kept(client, again.url, told, ["orders"])
        assert list(stats["topics"]) == ["orders"]


async def test_connections_that_say_nothing_do_not_hold_it_up(
    run_aggregator: Run, tmp_path: Path
) -> None:
    # Far above the limit within which `stop` must end.
    aggregator = run_aggregator("--drain-timeout-ms", "600000")
    parts = urlsplit(aggregator.url)
    silent = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(5)]
    async with session() as client:
        # Afterwards these connections are kept alive.
        told = Told()
        await asyncio.gather(
            *(
                publish(client, aggregator.url, batch_of("orders", [f"e-{number}"]), told)
                for number in range(5)
            )
        )
        assert told.requests == 5
        assert await asyncio.to_thread(aggregator.stop) == 0
    for _, writer in silent:
        writer.close()


async def test_a_request_that_never_ends_is_given_up_after_the_time_for_draining(
    run_aggregator: Run, tmp_path: Path
) -> None:
    aggregator = run_aggregator("--drain-timeout-ms", "300")
    parts = urlsplit(aggregator.url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[")
    await writer.drain()
    async with session() as client:
        await until_answer(client, f"{aggregator.url}/ready", 200, "")
    assert await asyncio.to_thread(aggregator.stop) == 0
    assert aggregator.log_lines("stopped")
    writer.close()


async def test_told_to_end_while_it_waits_for_its_store_it_never_begins(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        asked.set()
        # Until it hangs up.
        await reader.read()

    async with listening(say_nothing) as port:
        aggregator = Aggregator.spawn(
            ["--dsn", f"postgresql://postgres@127.0.0.1:{port}/events?sslmode=disable"],
            log=tmp_path / "log",
            cwd=tmp_path,
        )
        try:
            async with asyncio.timeout(LIMIT_S):
                await asked.wait()
            assert await asyncio.to_thread(aggregator.stop) == 0
        finally:
            aggregator.kill()
    assert [line["event"] for line in aggregator.log_lines()] == ["stopped"]


_NEVER_CLOSED = """
import asyncio, sys
from aggregator.server import run
from aggregator.__main__ import main
from storage.sqlite.store import SqliteStore
run.BEYOND_DRAIN_S = 0.2
async def never(store):
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
SqliteStore.aclose = never
raise SystemExit(main(sys.argv[1:]))
"""


def test_an_end_that_takes_longer_than_is_promised_is_cut_short(tmp_path: Path) -> None:
    aggregator = Aggregator.spawn(
        ["--drain-timeout-ms", "100"],
        log=tmp_path / "log",
        cwd=tmp_path,
        program=("-c", _NEVER_CLOSED),
    )
    try:
        wait_for(aggregator.listening, "the socket")
        _, writer = aggregator.processes()
        assert aggregator.stop() == 1
        wait_for(lambda: not writer.is_running(), "the end of the process that writes")
    finally:
        aggregator.kill()
    (line,) = aggregator.log_lines("stopped_at_once")
    assert line["reason"] == "the end took longer than 0.3 s"
    assert b"Traceback" not in aggregator.written()


def test_it_ends_in_order_while_postgres_was_never_in_reach(run_aggregator: Run) -> None:
    aggregator = run_aggregator("--dsn", "postgresql://postgres@/events?host=/nowhere")
    assert aggregator.stop() == 0
    assert aggregator.log_lines("stopped")


async def test_it_ends_in_order_after_postgres_was_lost(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    told = Told()
    async with session() as client:
        assert await publish(client, aggregator.url, batch_of("orders", ["e-1"]), told) == 200
        own_database.server.crash()
        assert await publish(client, aggregator.url, batch_of("orders", ["e-2"]), told) == 503
    assert await asyncio.to_thread(aggregator.stop) == 0
    assert aggregator.log_lines("stopped")
    assert b"Traceback" not in aggregator.written()


def blocked_signals(pid: int) -> set[int]:
    """The numbers of the signals that wait until the main thread of a process takes them."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigBlk:"):
            mask = int(line.split()[1], 16)
            return {number for number in range(1, 65) if mask >> (number - 1) & 1}
    raise AssertionError("the system tells of no signals")


@SIGNALS
def test_a_signal_that_comes_while_it_is_still_importing_ends_it_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    arguments = ["--database", str(tmp_path / "e.db")]
    aggregator = Aggregator.spawn(arguments, log=tmp_path / "log", cwd=tmp_path)
    pid = aggregator.process.pid
    # So it is only before it deals with them.
    wait_for(lambda: int(number) in blocked_signals(pid), "it lets signals wait")
    assert aggregator.stop(number) == 0
    assert [line["event"] for line in aggregator.log_lines()][-1] == "stopped"


def test_a_signal_behind_the_end_changes_nothing() -> None:
    script = """
import os, signal
from aggregator.server.shutdown import ORDERLY, Shutdown

shutdown = Shutdown(9.0, lambda _seconds: None)
shutdown.watch()
shutdown.finish(ORDERLY)
assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGINT) == signal.SIG_IGN
os.kill(os.getpid(), signal.SIGTERM)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
