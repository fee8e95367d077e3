"""The process that writes SQLite is stopped, or the disk hangs: for so long, and no longer."""

import asyncio
import gzip
import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import aiohttp
import psutil
from support.backends import Database
from support.going_on import check_log
from support.load import (
    Batch,
    Told,
    batch_of,
    check_kept,
    get_json,
    publish,
    publish_until_taken,
    session,
    until,
    until_answer,
    until_ready,
)
from support.processes import Aggregator, suspend
from support.sqlite_process import arguments, assert_intact
from support.verifying import verified

Run = Callable[..., Aggregator]

SHORT = (
    "--sqlite-busy-timeout-ms", "100",
    "--sqlite-command-timeout-ms", "500",
    "--drain-timeout-ms", "300",
)  # fmt: skip
NO_ANSWER = "gave no answer for 0.6 s and was killed"

ENDLESS = """CREATE TRIGGER endless AFTER INSERT ON events BEGIN
    SELECT count(*) FROM events, events, events, events, events, events; END"""
"""Keeps a transaction from its end, once there are a hundred events."""

# Reading the counts hangs as it would on a disk that does not answer; so does opening the file,
# if it is to.
_HANGING = """
import sys, threading
from storage.sqlite import connection as sqlite_connection
from aggregator.__main__ import main
execute = sqlite_connection.GuardedConnection.execute
def hang(connection, sql, *arguments):
    if {statement!r} in sql:
        threading.Event().wait()
    return execute(connection, sql, *arguments)
sqlite_connection.GuardedConnection.execute = hang
raise SystemExit(main(sys.argv[1:]))
"""


def writer_of(aggregator: Aggregator) -> psutil.Process:
    """The process that writes for it."""
    (writer,) = psutil.Process(aggregator.process.pid).children()
    return writer


async def refused(client: aiohttp.ClientSession, url: str, batch: Batch, *, short: bool) -> str:
    """Publish, the short way or the usual one; the sentence of the 503 that must come."""
    body, headers = json.dumps(batch).encode(), {"Content-Type": "application/json"}
    if not short:
        body, headers = gzip.compress(body), headers | {"Content-Encoding": "gzip"}
    async with client.post(f"{url}/publish", data=body, headers=headers) as response:
        problem = await response.json(content_type=None)
        assert response.status == 503, problem
        return str(problem["detail"])


async def available(client: aiohttp.ClientSession, url: str) -> str:
    """What /metrics says of the store."""
    async with client.get(f"{url}/metrics") as response:
        page = await response.text()
    return next(
        line.split()[1] for line in page.splitlines() if line[:26] == "aggregator_store_available"
    )


async def test_a_process_that_does_not_answer_costs_503s_and_another_goes_on(
    run_aggregator: Run, tmp_path: Path
) -> None:
    path, told = tmp_path / "log.db", Told()
    aggregator = run_aggregator(*arguments(path, *SHORT))
    url = aggregator.url
    async with session() as client:
        await publish_until_taken(client, url, batch_of("orders", ["a", "b"]), told)
        stopped = writer_of(aggregator)
        suspend(stopped)
        # So that none can take its place before the test has seen what is so meanwhile.
        with closing(sqlite3.connect(path, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            *problems, sentence = await asyncio.gather(
                *(get_json(client, f"{url}/ready", status=503) for _ in range(5)),
                refused(client, url, batch_of("orders", ["0"]), short=True),
            )
            assert NO_ANSWER in sentence
            assert all(NO_ANSWER in problem["detail"] for problem in problems), problems
            await until(lambda: not psutil.pid_exists(stopped.pid))
            assert await available(client, url) == "0.0"
            await refused(client, url, batch_of("orders", ["c"]), short=False)
            await get_json(client, f"{url}/ready", status=503)
            # What was stored can be read all the time.
            assert (await get_json(client, f"{url}/stats"))["unique_processed"] == 2
            lock.execute("ROLLBACK")
        await publish_until_taken(client, url, batch_of("orders", ["a", "0", "c"]), told)
        stored, _ = await check_kept(client, url, told, ["orders"])
        assert len(stored) >= 4
        assert await available(client, url) == "1.0"

        suspend(writer_of(aggregator))
        asking = asyncio.create_task(publish(client, url, batch_of("orders", ["e"]), told))
        await until_answer(client, f"{url}/metrics", 200, "aggregator_queue_events 1.0")
        # It is not in the time for draining that a stopped process answers.
        assert await asyncio.to_thread(aggregator.stop) == 0
        assert await asking == 503
    assert aggregator.log_lines("stopped")
    check_log(aggregator)
    assert_intact(path)
    assert verified(Database("sqlite", path, "")).code == 0


async def until_locked(path: Path) -> None:
    """Return once another process has the write lock."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        async with asyncio.timeout(60):
            while True:
                try:
                    other.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    return
                other.execute("ROLLBACK")
                await asyncio.sleep(0.01)


def execute(path: Path, statement: str) -> None:
    """Run one statement from outside."""
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)


async def test_a_second_signal_ends_it_at_once_and_frees_the_file_for_others(
    run_aggregator: Run, tmp_path: Path
) -> None:
    path, told = tmp_path / "log.db", Told()
    # All times are far above the limit within which it must end.
    first = run_aggregator(*arguments(path, "--drain-timeout-ms", "600000"))
    async with session() as client:
        batch = batch_of("orders", [f"{number}" for number in range(100)])
        assert await publish(client, first.url, batch, told) == 200
        execute(path, ENDLESS)
        publishing = asyncio.create_task(publish(client, first.url, batch_of("t", ["a"]), told))
        await until_locked(path)
        writer = writer_of(first)
        suspend(writer)

        other = await asyncio.to_thread(run_aggregator, *arguments(path, *SHORT))
        await until_answer(client, f"{other.url}/ready", 503, "database is locked")
        assert await publish(client, other.url, batch_of("orders", ["b"]), told) == 503

        first.process.send_signal(signal.SIGTERM)
        await until(lambda: bool(first.log_lines("draining")))
        await until_answer(client, f"{other.url}/ready", 503, "database is locked")
        # Another one does as well as the same.
        assert await asyncio.to_thread(first.stop, signal.SIGINT) == 1
        # No answer, or that the outcome is unknown: whichever comes first when the writer is killed
        assert await publishing in {0, 503}
        await until(lambda: not psutil.pid_exists(writer.pid))
        execute(path, "DROP TRIGGER endless")
        await publish_until_taken(client, other.url, batch_of("orders", ["b"]), told)
        stored, _ = await check_kept(client, other.url, told, ["orders", "t"])
        assert ("t", "a") not in stored

        # The last words of a process that crashes are a line of the log, as all else is.
        writer_of(other).send_signal(signal.SIGABRT)
        await until(lambda: bool(other.log_lines("storage_process_error")))
        await until_ready(client, other.url)
    (line,) = first.log_lines("stopped_at_once")
    assert line["reason"] == "SIGINT came while the aggregator was ending"
    assert b"Traceback" not in first.written()
    assert other.stop() == 0
    (line,) = other.log_lines("storage_process_error")
    assert line["level"] == "error"
    assert "Fatal Python error: Aborted" in line["text"]
    assert all(each.startswith(b"{") for each in other.written().splitlines())
    assert verified(Database("sqlite", path, "")).code == 0


def hanging(path: Path, log: Path, statement: str) -> Aggregator:
    """An aggregator for which SQL with this in it hangs."""
    program = ("-c", _HANGING.format(statement=statement))
    return Aggregator.spawn(arguments(path, *SHORT), log=log, cwd=log.parent, program=program)


async def test_a_read_that_hangs_is_given_up_and_does_not_hold_up_the_end(tmp_path: Path) -> None:
    aggregator = hanging(tmp_path / "log.db", tmp_path / "log", "WHERE received > 0")
    try:
        await until(aggregator.listening)
        url, told = aggregator.url, Told()
        async with session() as client:
            await publish_until_taken(client, url, batch_of("orders", ["a"]), told)
            problems = await asyncio.gather(
                *(get_json(client, f"{url}/stats", status=503) for _ in range(4))
            )
            assert all("could not be read within 0.6 s" in each["detail"] for each in problems)
            await publish_until_taken(client, url, batch_of("orders", ["b"]), told)
        assert await asyncio.to_thread(aggregator.stop) == 0
        assert aggregator.log_lines("stopped")
        check_log(aggregator)
    finally:
        aggregator.kill()


async def test_a_file_whose_opening_hangs_is_told_and_does_not_hold_up_the_end(
    tmp_path: Path,
) -> None:
    aggregator = hanging(tmp_path / "log.db", tmp_path / "log", "FROM sqlite_schema")
    try:
        await until(aggregator.listening)
        async with session() as client:
            for _ in range(2):
                await until_answer(client, f"{aggregator.url}/ready", 503, "not be opened within")
        assert await asyncio.to_thread(aggregator.stop) == 0
        assert aggregator.log_lines("stopped")
        check_log(aggregator)
    finally:
        aggregator.kill()
