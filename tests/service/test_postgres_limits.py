"""Postgres at its limits: no connection left, timeouts, deadlocks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest
from service.conftest import OwnDatabase
from support.going_on import check_log, refusal
from support.held import Place, held
from support.load import (
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
from support.processes import Aggregator

Run = Callable[..., Aggregator]


@asynccontextmanager
async def strangers(dsn: str, number: int) -> AsyncIterator[None]:
    """So many connections that somebody else has taken."""
    async with AsyncExitStack() as stack:
        for _ in range(number):
            stack.push_async_callback((await asyncpg.connect(dsn)).close)
        yield


@pytest.fixture
async def few(own_database: OwnDatabase) -> AsyncIterator[str]:
    """A DSN of a user who may have two connections: one to write and one to read."""
    name = own_database.dsn.partition("?")[0].rpartition("/")[2]
    role = f"few_{name}"
    await asyncio.to_thread(own_database.execute, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2")
    await asyncio.to_thread(own_database.execute, f"ALTER DATABASE {name} OWNER TO {role}")
    yield own_database.server.dsn_for(role, database=name)
    await asyncio.to_thread(own_database.execute, f"REASSIGN OWNED BY {role} TO postgres")
    await asyncio.to_thread(own_database.server.execute, f"DROP ROLE {role}")


async def test_out_of_connections_at_the_start_it_waits_for_one(
    run_aggregator: Run, few: str
) -> None:
    async with session() as client:
        async with strangers(few, 2):
            aggregator = await asyncio.to_thread(
                run_aggregator, "--backend", "postgres", "--dsn", few
            )
            await until_answer(client, f"{aggregator.url}/ready", 503, "too many connections")
        await until_ready(client, aggregator.url)
        assert await publish(client, aggregator.url, batch_of("orders", ["e-1"]), Told()) == 200
    check_log(aggregator)


async def test_out_of_connections_to_write_it_is_not_ready_although_it_can_read(
    run_aggregator: Run, own_database: OwnDatabase, few: str
) -> None:
    aggregator = run_aggregator("--backend", "postgres", "--dsn", few)
    url, told = aggregator.url, Told()
    async with session() as client:
        assert await publish(client, url, batch_of("orders", ["e-1"]), told) == 200
        await check_kept(client, url, told, ["orders"])
        async with held(own_database.dsn) as holder:
            (ended,) = await holder.connection.fetch(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE query = 'COMMIT' AND application_name = 'pubsub-log-aggregator'"
                " AND datname = current_database()"
            )
            assert ended[0]
        async with strangers(few, 1):
            sentence = await refusal(client, url, batch_of("orders", ["e-2"]), told)
            assert "Postgres" in sentence
            await until_answer(client, f"{url}/ready", 503, "too many connections")
            # Far more often than the store is looked at.
            for _ in range(20):
                problem = await get_json(client, f"{url}/ready", status=503)
                assert "too many connections" in problem["detail"]
                await get_json(client, f"{url}/stats")
        await publish_until_taken(client, url, batch_of("orders", ["e-2"]), told)
        kept, _ = await check_kept(client, url, told, ["orders"])
    assert len(kept) == 2
    assert len(aggregator.log_lines("storage_available")) == 2
    check_log(aggregator)


async def test_a_statement_timeout_of_the_database_does_not_count(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    """One that ends a COMMIT's wait would have it confirmed; the aggregator has its own."""
    name = own_database.dsn.partition("?")[0].rpartition("/")[2]
    own_database.execute(f"ALTER DATABASE {name} SET statement_timeout = 50")
    aggregator = run_aggregator(*own_database.arguments())
    told = Told()
    async with session() as client:
        async with held(own_database.dsn, Place.INSERT) as holder:
            publishing = asyncio.create_task(
                publish(client, aggregator.url, batch_of("orders", ["e-1"]), told)
            )
            pid = await holder.stopped()
            await until(lambda: publishing.done() or took_longer(own_database, pid, "100 ms"))
            await holder.let_go()
            assert await publishing == 200
        await check_kept(client, aggregator.url, told, ["orders"])


def took_longer(database: OwnDatabase, pid: int, limit: str) -> bool:
    """Whether the statement of a server process has run for longer than that."""
    running = f"pid = {pid} AND clock_timestamp() - query_start > '{limit}'"
    return database.server.takes(
        f"DO $$ BEGIN ASSERT EXISTS (SELECT FROM pg_stat_activity WHERE {running}); END $$"
    )


async def test_a_topic_locked_by_a_stranger_is_refused_in_time_and_taken_afterwards(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments(), "--postgres-command-timeout-ms", "1000")
    url, told = aggregator.url, Told()
    async with session() as client:
        async with held(own_database.dsn, Place.LOCK_TOPICS) as holder:
            sentence = await refusal(client, url, batch_of("orders", ["e-1"]), told)
            assert "no answer in time" in sentence
            await holder.until_nobody_waits()
        await publish_until_taken(client, url, batch_of("orders", ["e-1"]), told)
        _, stats = await check_kept(client, url, told, ["orders"])
    assert stats["received"] == told.received == 1


async def test_a_read_that_takes_too_long_is_refused_and_leaves_no_transaction(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments(), "--postgres-command-timeout-ms", "1000")
    url, told = aggregator.url, Told()
    async with session() as client, held(own_database.dsn) as holder:
        assert await publish(client, url, batch_of("orders", ["e-1"]), told) == 200
        async with holder.connection.transaction():
            await holder.connection.execute("LOCK TABLE events, topics")
            for path in ("stats", "events?topic=orders&after=0", "events/orders/e-1"):
                problem = await get_json(client, f"{url}/{path}", status=503)
                assert "no answer in time" in problem["detail"]
        await check_kept(client, url, told, ["orders"])
    check_log(aggregator)


async def test_a_lock_timeout_of_the_database_is_told_and_passes(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    name = own_database.dsn.partition("?")[0].rpartition("/")[2]
    own_database.execute(f"ALTER DATABASE {name} SET lock_timeout = 50")
    aggregator = run_aggregator(*own_database.arguments())
    url, told = aggregator.url, Told()
    async with session() as client:
        async with held(own_database.dsn, Place.COUNT):
            sentence = await refusal(client, url, batch_of("orders", ["e-1"]), told)
            assert "lock timeout" in sentence
        # Not the batch is to blame: nothing is taken until Postgres was asked again.
        await until(lambda: bool(aggregator.log_lines("storage_unavailable")))
        await publish_until_taken(client, url, batch_of("orders", ["e-1"]), told)
        _, stats = await check_kept(client, url, told, ["orders"])
    assert stats["received"] == told.received == 1
    check_log(aggregator)


async def test_a_deadlock_with_a_stranger_stores_nothing_and_passes(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    name = own_database.dsn.partition("?")[0].rpartition("/")[2]
    # The one that looks first is the one that is ended.
    own_database.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '3s'")
    aggregator = run_aggregator(*own_database.arguments())
    url, told, topics = aggregator.url, Told(), ["orders", "visits"]
    batch = batch_of("orders", ["e-1"]) + batch_of("visits", ["e-1"])
    async with session() as client, held(own_database.dsn) as holder:
        stranger = holder.connection
        for topic in topics:
            assert await publish(client, url, batch_of(topic, ["e-0"]), told) == 200
        await stranger.execute("SET deadlock_timeout = '60s'")
        lock = "SELECT FROM topics WHERE topic = $1 FOR UPDATE"
        async with stranger.transaction():
            await stranger.execute(lock, "visits")
            refused = asyncio.create_task(refusal(client, url, batch, told))
            await holder.stopped("transactionid")
            await stranger.execute(lock, "orders")
            assert "deadlock detected" in await refused
        await publish_until_taken(client, url, batch, told)
        kept, stats = await check_kept(client, url, told, topics)
    assert len(kept) == stats["received"] == 4
    check_log(aggregator)
