"""Postgres that is not there, goes away, ends connections or turns read-only."""

import asyncio
from collections.abc import Callable

import pytest
from service.conftest import OwnDatabase
from support.going_on import Load, check_all
from support.load import (
    LIMIT_S,
    Told,
    batch_of,
    check_conservation,
    check_kept,
    get_json,
    publish,
    publish_until_taken,
    session,
    until_answer,
    until_ready,
)
from support.own_postgres import OwnPostgres
from support.processes import Aggregator

Run = Callable[..., Aggregator]


async def test_started_while_postgres_is_down_it_waits_and_becomes_ready_by_itself(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    own_database.server.stop()
    aggregator = run_aggregator(*own_database.arguments())
    url, told = aggregator.url, Told()
    async with session() as client:
        assert await get_json(client, f"{url}/health") == {"status": "ok"}
        problem = await get_json(client, f"{url}/ready", status=503)
        assert "Postgres is out of reach" in problem["detail"]
        assert await publish(client, url, batch_of("orders", ["e-1"]), told) == 503
        problem = await get_json(client, f"{url}/stats", status=503)
        assert problem["status"] == 503

        await asyncio.to_thread(own_database.server.start)
        await until_ready(client, url)
        assert await publish(client, url, batch_of("orders", ["e-2"]), told) == 200
        stored, stats = await check_kept(client, url, told, ["orders"])
    assert list(stored) == [("orders", "e-2")]
    assert stats["received"] == 1
    assert aggregator.log_lines("storage_unavailable")
    assert aggregator.log_lines("storage_available")


def test_postgres_that_comes_up_without_the_database_ends_it_with_the_reason(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    own_database.server.stop()
    dsn = own_database.server.dsn_for("postgres", database="no_such_database")
    aggregator = run_aggregator("--dsn", dsn)
    own_database.server.start()
    assert aggregator.process.wait(LIMIT_S) == 2
    last = aggregator.written().decode().splitlines()[-1]
    assert last.startswith("aggregator: ")
    assert "no_such_database" in last


@pytest.mark.parametrize("end", [OwnPostgres.crash, OwnPostgres.stop], ids=["crash", "stop"])
async def test_an_end_of_postgres_under_load_loses_nothing_that_was_acknowledged(
    run_aggregator: Run, own_database: OwnDatabase, end: Callable[[OwnPostgres], None]
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    told = Told()
    async with session() as client:
        load = Load(client, aggregator.url, told)
        for _ in range(2):
            await load.until_more_is_acknowledged()
            await asyncio.to_thread(end, own_database.server)
            await load.until_more_is_refused()
            await until_answer(client, f"{aggregator.url}/ready", 503, "Postgres")
            await asyncio.to_thread(own_database.server.start)
            await load.until_more_is_acknowledged()
        await load.stop()
        await check_all(client, aggregator.url, told)
    assert aggregator.process.poll() is None
    assert b"Traceback" not in aggregator.written()


async def test_connections_that_an_operator_ends_are_replaced(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    told = Told()
    async with session() as client:
        load = Load(client, aggregator.url, told)
        for _ in range(4):
            await load.until_more_is_acknowledged()
            await asyncio.to_thread(
                own_database.execute,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
        await load.until_more_is_acknowledged()
        await load.stop()
        await until_ready(client, aggregator.url)
        await check_all(client, aggregator.url, told)
    log = own_database.server.log.read_bytes()
    assert b"due to administrator command" in log


async def test_while_postgres_is_read_only_publishes_are_refused_and_reads_go_on(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    server = own_database.server
    aggregator = run_aggregator(*own_database.arguments())
    url, told = aggregator.url, Told()
    async with session() as client:
        assert await publish(client, url, batch_of("orders", ["e-1"]), told) == 200
        await asyncio.to_thread(
            server.execute, "ALTER SYSTEM SET default_transaction_read_only = on"
        )
        await asyncio.to_thread(server.execute, "SELECT pg_reload_conf()")
        await until_answer(client, f"{url}/ready", 503, "read-only")
        assert await publish(client, url, batch_of("orders", ["e-2"]), told) == 503
        check_conservation(await get_json(client, f"{url}/stats"))

        await asyncio.to_thread(server.execute, "ALTER SYSTEM RESET default_transaction_read_only")
        await asyncio.to_thread(server.execute, "SELECT pg_reload_conf()")
        await until_ready(client, url)
        await publish_until_taken(client, url, batch_of("orders", ["e-2"]), told)
        stored, stats = await check_kept(client, url, told, ["orders"])
    assert list(stored) == [("orders", "e-1"), ("orders", "e-2")]
    assert stats["received"] == 2


async def test_started_on_a_read_only_postgres_it_waits_until_it_can_write(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    server = own_database.server
    server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    server.execute("SELECT pg_reload_conf()")
    aggregator = run_aggregator(*own_database.arguments())
    async with session() as client:
        await until_answer(client, f"{aggregator.url}/ready", 503, "read-only")
        await asyncio.to_thread(server.execute, "ALTER SYSTEM RESET default_transaction_read_only")
        await asyncio.to_thread(server.execute, "SELECT pg_reload_conf()")
        await until_ready(client, aggregator.url)
        told = Told()
        assert await publish(client, aggregator.url, batch_of("orders", ["e-1"]), told) == 200
