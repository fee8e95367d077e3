"""Strangers that hold the SQLite file's locks: for too long, stopped in the midst, from before."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.going_on import Load, check_all
from support.load import Told, batch_of, get_json, publish, session, until_answer, until_ready
from support.processes import Aggregator
from support.sqlite_process import arguments, assert_intact, stranger

Run = Callable[..., Aggregator]
WRITES = ("BEGIN IMMEDIATE", "UPDATE topics SET conflicts = conflicts")
BUSY = ("--sqlite-busy-timeout-ms", "200")


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_lock_held_for_too_long_costs_503s_and_passes(
    run_aggregator: Run, tmp_path: Path, stopped: bool
) -> None:
    path = tmp_path / "log.db"
    aggregator = run_aggregator(*arguments(path, *BUSY))
    url, told = aggregator.url, Told()
    async with session() as client:
        load = Load(client, url, told)
        await load.until_more_is_acknowledged()
        with stranger(path, "PRAGMA busy_timeout = 30000", *WRITES) as holder:
            if stopped:
                os.kill(holder.pid, signal.SIGSTOP)
            await load.until_more_is_refused()
            await until_answer(client, f"{url}/ready", 503, "database is locked")
            # And it stays so: that the lock is taken is no sign that a publish would be.
            problem = await get_json(client, f"{url}/ready", status=503)
            assert "database is locked" in problem["detail"]
            await get_json(client, f"{url}/stats")
        await load.until_more_is_acknowledged()
        await load.stop()
        await until_ready(client, url)
        await check_all(client, url, told)
    assert len(aggregator.log_lines("storage_available")) <= 2, "it was said to be back too early"
    assert b"Traceback" not in aggregator.written()
    assert aggregator.stop() == 0
    assert_intact(path)


async def test_started_while_a_stranger_has_the_file_to_itself_it_waits(
    run_aggregator: Run, tmp_path: Path
) -> None:
    path = tmp_path / "log.db"
    first = run_aggregator(*arguments(path))
    told = Told()
    async with session() as client:
        assert await publish(client, first.url, batch_of("orders", ["a"]), told) == 200
        assert first.stop() == 0
        with stranger(path, "PRAGMA locking_mode = EXCLUSIVE", *WRITES, "COMMIT"):
            aggregator = run_aggregator(*arguments(path, *BUSY))
            url = aggregator.url
            await until_answer(client, f"{url}/ready", 503, "database is locked")
            assert await publish(client, url, batch_of("orders", ["b"]), told) == 503
            await get_json(client, f"{url}/stats", status=503)
        await until_ready(client, url)
        assert await publish(client, url, batch_of("orders", ["b"]), told) == 200
        await check_all(client, url, told)
    assert b"Traceback" not in aggregator.written()
