"""A standby takes over: a DSN that names both servers and asks for the one that takes writes."""

import asyncio
from collections.abc import Callable

import pytest
from service.conftest import OwnDatabase
from support.going_on import Load, check_all, check_log
from support.load import Told, session, until_answer, until_ready
from support.own_postgres import OwnPostgres
from support.processes import Aggregator, wait_for

Run = Callable[..., Aggregator]


def crash(primary: OwnPostgres) -> None:
    primary.crash()


def fence(primary: OwnPostgres) -> None:
    primary.set("default_transaction_read_only = on")


def follow_in_step(primary: OwnPostgres) -> None:
    """From now on, a commit on the primary waits until the standby has it."""
    primary.set("synchronous_standby_names = '*'")
    in_step = "SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
    wait_for(lambda: primary.takes(in_step), "the standby")


@pytest.mark.parametrize("loss", [crash, fence])
async def test_a_synchronous_standby_takes_over_and_nothing_acknowledged_is_lost(
    run_aggregator: Run, own_database: OwnDatabase, loss: Callable[[OwnPostgres], None]
) -> None:
    primary = own_database.server
    with primary.standby() as standby:
        await asyncio.to_thread(follow_in_step, primary)
        hosts = f"host={primary.socket.parent},{standby.socket.parent}"
        dsn = f"{own_database.dsn.partition('?')[0]}?{hosts}&target_session_attrs=read-write"
        aggregator = await asyncio.to_thread(
            run_aggregator,
            *("--backend", "postgres", "--dsn", dsn, "--postgres-command-timeout-ms", "2000"),
        )
        told = Told()
        async with session() as client:
            load = Load(client, aggregator.url, told)
            await load.until_more_is_acknowledged()
            await asyncio.to_thread(loss, primary)
            await load.until_more_is_refused()
            await until_answer(client, f"{aggregator.url}/ready", 503, "Postgres")
            await asyncio.to_thread(standby.execute, "SELECT pg_promote()")
            await load.until_more_is_acknowledged()
            await load.stop()
            await until_ready(client, aggregator.url)
            await check_all(client, aggregator.url, told)
        check_log(aggregator)
        assert aggregator.stop() == 0


async def test_an_aggregator_starts_and_ends_while_no_standby_confirms_a_commit(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    """That another one has opened the log is written down, but is not worth waiting for."""
    aggregator = await asyncio.to_thread(run_aggregator, *own_database.arguments())
    async with session() as client:
        await until_ready(client, aggregator.url)
        assert await asyncio.to_thread(aggregator.stop) == 0
        await asyncio.to_thread(own_database.server.set, "synchronous_standby_names = 'nobody'")
        short = ("--postgres-command-timeout-ms", "1000")
        again = await asyncio.to_thread(run_aggregator, *own_database.arguments(), *short)
        await until_ready(client, again.url)
        assert await asyncio.to_thread(again.stop) == 0
    writers = "SELECT 1 / (count(*) = 0)::int FROM writers"
    await asyncio.to_thread(own_database.execute, writers)
