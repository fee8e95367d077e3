"""A handler that is cancelled has done nothing, wherever it was, and its connection goes on."""

import asyncio
from typing import Any

import asyncpg
import psycopg
import pytest
from support.backends import Database
from support.checkpoint_consumers import Consumer
from support.checkpoint_deliveries import batch
from unit.subscriber.checkpoints.conftest import Connect

from subscriber.checkpoints import checkpoint

AWAITED = ["asyncpg", "psycopg", "aiosqlite"]
LIMIT_S = 30


@pytest.mark.parametrize("kind", [*AWAITED, "sqlite3-async"])
async def test_cancelled_block_is_undone(consumer: Consumer) -> None:
    is_inside = asyncio.Event()

    async def handle() -> None:
        async with consumer.checkpoint("billing", batch("t", 1)) as fresh:
            await consumer.effect("billing", fresh)
            is_inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(handle())
    await is_inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not consumer.is_in_transaction()
    assert await consumer.effects("billing") == []
    assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]


@pytest.mark.parametrize("kind", AWAITED)
@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "joined"])
async def test_cancelled_wait_for_the_row_leaves_nothing_behind(
    consumer: Consumer, connect: Connect, is_joined: bool
) -> None:
    other, observer = await connect(), await connect()
    await consumer.consume("billing", batch("t", 1))

    await consumer.run("BEGIN")
    await consumer.consume("billing", batch("t", 2))
    if is_joined:
        await other.run("BEGIN")
    waiting = asyncio.create_task(other.consume("billing", batch("t", 3)))
    if consumer.backend == "postgres":
        await observer.see_waiting()
    else:
        # From its first statement to the lock there is nothing that it waits for.
        async with asyncio.timeout(LIMIT_S):
            while not other.is_in_transaction():  # noqa: ASYNC110 - its thread has no event
                await asyncio.sleep(0)
    waiting.cancel()
    if consumer.backend == "postgres":
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await consumer.run("COMMIT")
    # In SQLite's thread a statement runs to its end.
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert other.is_in_transaction() is is_joined
    if is_joined:
        await other.run("COMMIT")
    assert await other.consume("billing", batch("t", 1, 2, 3)) == [("t", 3)]


@pytest.mark.parametrize("kind", AWAITED)
async def test_events_of_handlers_that_are_cancelled_at_any_moment_have_one_effect(
    consumer: Consumer,
) -> None:
    events = range(1, 41)
    for event in events:
        task = asyncio.create_task(consumer.consume("billing", batch("t", event, event * 2000)))
        for _ in range(event):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert not consumer.is_in_transaction()
    for event in events:
        await consumer.consume("billing", batch("t", event, event * 2000))
    expected = sorted({("t", n * factor) for n in events for factor in (1, 2000)})
    assert await consumer.effects("billing") == expected


@pytest.mark.parametrize("kind", ["asyncpg"])
@pytest.mark.parametrize("is_pooled", [False, True], ids=["connection", "pool"])
@pytest.mark.parametrize("is_sent", [False, True], ids=["not sent", "sent"])
@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT"])
async def test_cancelled_begin_or_commit_of_asyncpg_is_no_hindrance(
    consumer: Consumer,
    kept_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    is_pooled: bool,
    is_sent: bool,
    statement: str,
) -> None:
    is_there = asyncio.Event()
    execute: Any = asyncpg.Connection.execute

    async def stop_there(connection: Any, query: str, *arguments: object) -> object:
        if is_sent or not query.startswith(statement):
            done = await execute(connection, query, *arguments)
        if query.startswith(statement):
            is_there.set()
            await asyncio.Event().wait()
        return done

    async with asyncpg.create_pool(kept_database.dsn, min_size=1, max_size=1) as pool:
        connection = await pool.acquire() if is_pooled else consumer.connection

        async def handle() -> int:
            async with checkpoint(connection, "billing", batch("t", 1)) as fresh:
                return len(fresh)

        with monkeypatch.context() as patched:
            patched.setattr(asyncpg.Connection, "execute", stop_there)
            task = asyncio.create_task(handle())
            await is_there.wait()
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()
        assert not connection.is_in_transaction()
        assert await handle() == (0 if is_sent and statement == "COMMIT" else 1)
        assert not connection.is_in_transaction()
        async with connection.transaction():
            assert await handle() == 0
        if is_pooled:
            await pool.release(connection)


@pytest.mark.parametrize("kind", ["psycopg"])
@pytest.mark.parametrize("is_sent", [False, True], ids=["not sent", "sent"])
@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT"])
async def test_cancelled_begin_or_commit_of_psycopg_is_no_hindrance(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, is_sent: bool, statement: str
) -> None:
    is_there = asyncio.Event()
    wait: Any = psycopg.AsyncConnection.wait
    step = {"BEGIN": "_enter_gen", "COMMIT": "_exit_gen"}[statement]

    async def stop_there(connection: Any, sending: Any, **options: Any) -> object:
        stops = not is_there.is_set() and sending.__name__ == step
        if not stops or is_sent:
            done = await wait(connection, sending, **options)
        if stops:
            is_there.set()
            await asyncio.Event().wait()
        return done

    await consumer.connection.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
    with monkeypatch.context() as patched:
        patched.setattr(psycopg.AsyncConnection, "wait", stop_there)
        task = asyncio.create_task(consumer.consume("billing", batch("t", 1)))
        await is_there.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert not consumer.is_in_transaction()
    assert consumer.connection.isolation_level is psycopg.IsolationLevel.SERIALIZABLE
    is_done = is_sent and statement == "COMMIT"
    assert await consumer.consume("billing", batch("t", 1)) == ([] if is_done else [("t", 1)])
    assert not consumer.is_in_transaction()
