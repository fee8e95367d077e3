"""Connections that Postgres ends: at each point of a transaction, by an operator or by a crash."""

import asyncio
import os
import signal
from collections.abc import Callable

import aiohttp
import pytest
from service.conftest import OwnDatabase
from support.going_on import check_log
from support.held import Held, Place, held
from support.load import (
    LIMIT_S,
    Told,
    batch_of,
    check_kept,
    get_json,
    publish,
    publish_until_taken,
    session,
    until,
    until_ready,
)
from support.processes import Aggregator

Run = Callable[..., Aggregator]

SEED = batch_of("orders", ["e-0"])
BATCH = batch_of("orders", ["e-1", "e-2"]) + batch_of("visits", ["e-1"])
TOPICS = ["orders", "visits"]


async def terminate(holder: Held, pid: int) -> None:
    """As an operator does."""
    await holder.connection.execute("SELECT pg_terminate_backend($1)", pid)


async def kill(_holder: Held, pid: int) -> None:
    """As the kernel does when memory runs out; the server ends every other session, too."""
    os.kill(pid, signal.SIGKILL)


async def check_whole(client: aiohttp.ClientSession, url: str, told: Told, *, stored: bool) -> None:
    """The batch that was answered 503 is there, or nothing of it; sent again, it is taken."""
    await until_ready(client, url)
    stats = await get_json(client, f"{url}/stats")
    async with asyncio.timeout(LIMIT_S):
        # Who waited for a standby is let go by a process of the server that may have to do.
        while stored and stats["received"] == 1:
            await asyncio.sleep(0.01)
            stats = await get_json(client, f"{url}/stats")
    assert stats["received"] == (4 if stored else 1), stats
    await publish_until_taken(client, url, BATCH, told)
    kept, stats = await check_kept(client, url, told, TOPICS)
    assert len(kept) == 4
    assert stats["duplicate_dropped"] == (3 if stored else 0)


@pytest.mark.parametrize("place", Place)
async def test_a_connection_ended_in_mid_transaction_stores_nothing(
    run_aggregator: Run, own_database: OwnDatabase, place: Place
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    url, told = aggregator.url, Told()
    async with session() as client:
        assert await publish(client, url, SEED, told) == 200
        async with held(own_database.dsn, place) as holder:
            publishing = asyncio.create_task(publish(client, url, BATCH, told))
            await terminate(holder, await holder.stopped())
            assert await publishing == 503
        await check_whole(client, url, told, stored=False)
    check_log(aggregator)
    await until(lambda: len(aggregator.log_lines("flush_failed")) == 1)


@pytest.mark.parametrize("place", [Place.INSERT, Place.COMMIT])
async def test_a_server_process_killed_in_mid_transaction_stores_nothing(
    run_aggregator: Run, own_database: OwnDatabase, place: Place
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    url, told = aggregator.url, Told()
    async with session() as client:
        assert await publish(client, url, SEED, told) == 200
        async with held(own_database.dsn, place) as holder:
            publishing = asyncio.create_task(publish(client, url, BATCH, told))
            await kill(holder, await holder.stopped())
            assert await publishing == 503
        await asyncio.to_thread(own_database.server.start)
        await check_whole(client, url, told, stored=False)
    check_log(aggregator)


async def test_a_connection_ended_before_the_transaction_is_replaced(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    url, told = aggregator.url, Told()
    async with session() as client:
        assert await publish(client, url, SEED, told) == 200
        async with held(own_database.dsn) as holder:
            await holder.connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await publish_until_taken(client, url, BATCH, told)
        assert len(told.refused) <= 1
        await until_ready(client, url)
        kept, _ = await check_kept(client, url, told, TOPICS)
    assert len(kept) == 4
    check_log(aggregator)


@pytest.mark.parametrize("ended_by", ["pg_terminate_backend", "pg_cancel_backend"])
async def test_a_commit_that_stopped_waiting_for_its_standby_is_not_confirmed(
    run_aggregator: Run, own_database: OwnDatabase, ended_by: str
) -> None:
    """Postgres has committed by then, and what it answers to a cancelled wait is "COMMIT"."""
    aggregator = run_aggregator(*own_database.arguments())
    url, told = aggregator.url, Told()
    async with session() as client, held(own_database.dsn) as holder:
        assert await publish(client, url, SEED, told) == 200
        await asyncio.to_thread(own_database.server.set, "synchronous_standby_names = 'nobody'")
        await holder.until_commits_wait()
        publishing = asyncio.create_task(publish(client, url, BATCH, told))
        pid = await holder.stopped("SyncRep")
        await holder.connection.execute(f"SELECT {ended_by}($1)", pid)
        assert await publishing == 503
        await asyncio.to_thread(own_database.server.reset)
        await check_whole(client, url, told, stored=True)
    if ended_by == "pg_cancel_backend":
        await until(lambda: bool(aggregator.log_lines("flush_failed")))
        (line,) = aggregator.log_lines("flush_failed")
        assert "a standby may not have what was committed" in line["reason"]


async def test_a_commit_that_waits_too_long_for_its_standby_is_not_confirmed(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments(), "--postgres-command-timeout-ms", "1000")
    url, told = aggregator.url, Told()
    async with session() as client, held(own_database.dsn) as holder:
        await publish_until_taken(client, url, SEED, told)
        assert told.received == 1
        await asyncio.to_thread(own_database.server.set, "synchronous_standby_names = 'nobody'")
        await holder.until_commits_wait()
        assert await publish(client, url, BATCH, told) == 503
        await until(lambda: bool(aggregator.log_lines("flush_failed")))
        (line,) = aggregator.log_lines("flush_failed")
        assert line["reason"] == "Postgres: COMMIT was not answered: no answer in time"
        await asyncio.to_thread(own_database.server.reset)
        await check_whole(client, url, told, stored=True)
