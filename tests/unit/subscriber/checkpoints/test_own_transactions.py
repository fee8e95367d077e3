"""Where no transaction is open a checkpoint opens one, and ends it with its block."""

import asyncio
import gc
import sqlite3
from collections.abc import Callable
from typing import Any

import asyncpg
import psycopg
import pytest
from support.backends import Database
from support.checkpoint_consumers import ON_POSTGRES, ON_SQLITE, Consumer
from support.checkpoint_deliveries import batch
from unit.subscriber.checkpoints.conftest import Connect

from subscriber.checkpoints import (
    ConnectionInCheckpoint,
    TransactionEnded,
    checkpoint,
)
from subscriber.errors import TransactionOpen


class Refused(BaseException):
    """Leaves a block, and is no Exception."""


async def awaited(method: Callable[..., Any], *arguments: object) -> None:
    """Call a method of a driver, which may be one that is awaited."""
    result = method(*arguments)
    if result is not None:
        await result


async def test_error_undoes_the_block_and_passes(consumer: Consumer) -> None:
    await consumer.consume("billing", batch("t", 1))
    for error in (ValueError("x"), asyncio.CancelledError(), Refused()):
        with pytest.raises(type(error)) as raised:
            await consumer.fail("billing", batch("t", 1, 2, 5000), error)
        assert raised.value is error
        assert not consumer.is_in_transaction()
        assert await consumer.effects("billing") == [("t", 1)]
    assert await consumer.consume("billing", batch("t", 5000, 2)) == [("t", 5000), ("t", 2)]


@pytest.mark.parametrize("kind", ["psycopg", "psycopg-blocking"])
async def test_rollback_of_psycopg_passes_too(consumer: Consumer) -> None:
    # psycopg would end it here, and the events would be acknowledged without their effects.
    with pytest.raises(psycopg.Rollback):
        await consumer.fail("billing", batch("t", 1), psycopg.Rollback())
    assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]


async def test_block_is_committed_at_its_end_for_everybody(
    consumer: Consumer, connect: Connect
) -> None:
    other, deliveries = await connect(), batch("t", 1)
    async with consumer.checkpoint("billing", deliveries) as fresh:
        assert consumer.is_in_transaction()
        await consumer.effect("billing", fresh)
        assert await other.effects("billing") == []
    assert not consumer.is_in_transaction()
    assert await other.effects("billing") == [("t", 1)]
    await deliveries.ack()


async def test_acknowledgement_inside_the_block_is_refused(consumer: Consumer) -> None:
    deliveries = batch("t", 1, 2)
    async with consumer.checkpoint("billing", deliveries):
        with pytest.raises(TransactionOpen, match="inside the block"):
            await deliveries[1].ack()
    await deliveries.ack()


async def test_acknowledgement_is_not_refused_for_a_later_transaction(consumer: Consumer) -> None:
    deliveries = batch("t", 1)
    await consumer.consume("billing", deliveries)
    await consumer.run("BEGIN")
    await deliveries.ack()


async def test_second_block_on_a_connection_is_refused_until_the_first_is_left(
    consumer: Consumer,
) -> None:
    async with consumer.checkpoint("billing", batch("t", 1)):
        for _ in range(2):
            with pytest.raises(ConnectionInCheckpoint, match="a connection of its own"):
                await consumer.consume("billing", batch("u", 1))
    with pytest.raises(Refused):
        await consumer.fail("billing", batch("t", 2), Refused())
    assert await consumer.consume("billing", batch("t", 1, 2)) == [("t", 2)]


@pytest.mark.parametrize("kind", ["sqlite3"])
async def test_checkpoint_is_entered_once(consumer: Consumer) -> None:
    once = checkpoint(consumer.connection, "billing", batch("t", 1))
    with once:
        pass
    with pytest.raises(RuntimeError, match="entered once"), once:
        pass


@pytest.mark.parametrize("kind", ["sqlite3"])
async def test_block_that_is_never_left_goes_with_its_connection(consumer: Consumer) -> None:
    left_open = checkpoint(consumer.connection, "billing", batch("t", 1))
    left_open.__enter__()
    with pytest.raises(ConnectionInCheckpoint):
        await consumer.consume("billing", batch("t", 1))
    await consumer.run("ROLLBACK")
    del left_open
    gc.collect()
    assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]


DEFERRED = """
CREATE TABLE IF NOT EXISTS parents (id BIGINT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS children (
    parent BIGINT REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)"""


async def test_commit_that_is_refused_undoes_the_block(consumer: Consumer) -> None:
    if consumer.backend == "sqlite":
        await consumer.run("PRAGMA foreign_keys = ON")
    for statement in DEFERRED.split(";"):
        await consumer.run(statement)
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await consumer.consume("billing", batch("t", 1), "INSERT INTO children VALUES (1)")
    assert not consumer.is_in_transaction()
    assert await consumer.effects("billing") == []
    assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]


@pytest.mark.parametrize("kind", ON_SQLITE)
async def test_reader_of_a_rollback_journal_keeps_a_block_from_its_commit_and_not_from_its_undoing(
    connect: Connect,
) -> None:
    consumer, reader = await connect(journal="delete"), await connect(journal="delete")
    await consumer.prepare()
    await consumer.run("PRAGMA busy_timeout = 0")
    await reader.run("BEGIN")
    await reader.effects("billing")
    with pytest.raises(Refused):
        await consumer.fail("billing", batch("t", 1), Refused())
    assert not consumer.is_in_transaction()
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        await consumer.consume("billing", batch("t", 1))
    assert not consumer.is_in_transaction()
    await reader.run("COMMIT")
    assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]
    assert await consumer.effects("billing") == [("t", 1)]


@pytest.mark.parametrize("offsets", [(1,), (2,)], ids=["all done", "fresh"])
async def test_lost_connection_is_an_error_and_nothing_is_done(
    consumer: Consumer, connect: Connect, offsets: tuple[int, ...]
) -> None:
    await consumer.consume("billing", batch("t", 1))
    other = await connect()
    block = other.checkpoint("billing", batch("t", *offsets))
    await block.__aenter__()
    await other.run("INSERT INTO effects VALUES ('late', 't', 2)")
    await other.close()
    with pytest.raises(Exception, match=r"(?i)closed|lost|no active"):
        await block.__aexit__(None, None, None)
    assert await consumer.effects("late") == []
    assert await consumer.consume("billing", batch("t", 2)) == [("t", 2)]


@pytest.mark.parametrize("kind", ON_POSTGRES)
async def test_session_that_the_server_ended_is_an_error_and_nothing_is_done(
    consumer: Consumer, connect: Connect
) -> None:
    other = await connect()
    ((pid,),) = await other.run("SELECT pg_backend_pid()")
    block = other.checkpoint("billing", batch("t", 1))
    await other.effect("billing", await block.__aenter__())
    await consumer.run("SELECT pg_terminate_backend(?, 10000)", pid)
    with pytest.raises(
        (asyncpg.PostgresError, asyncpg.InterfaceError, psycopg.OperationalError, OSError)
    ):
        await block.__aexit__(None, None, None)
    assert await consumer.effects("billing") == []
    assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]


@pytest.mark.parametrize("is_joined", [False, True], ids=["own", "joined"])
async def test_block_that_ends_its_transaction_is_an_error_and_notes_nothing(
    consumer: Consumer, is_joined: bool
) -> None:
    behind = "INSERT INTO effects VALUES ('behind', 't', 1)"
    for endings in (["COMMIT"], ["ROLLBACK"], ["COMMIT", "BEGIN"], ["ROLLBACK", "BEGIN"]):
        if is_joined:
            await consumer.run("BEGIN")
        with pytest.raises(TransactionEnded, match="inside its block"):
            await consumer.consume("billing", batch("t", 1), *endings, behind)
        if consumer.is_in_transaction():
            await consumer.run("COMMIT")
        # Only what is behind an end is by itself.
        expected = [] if "BEGIN" in endings else [("t", 1)]
        assert await consumer.effects("behind") == expected
        await consumer.run("DELETE FROM effects")
    assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]


@pytest.mark.parametrize("kind", ["psycopg", "psycopg-blocking"])
async def test_commit_of_psycopg_is_refused_inside_the_block(consumer: Consumer) -> None:
    for begin in ("SELECT 1", "BEGIN"):
        await consumer.run(begin)
        async with consumer.checkpoint("billing", batch("t", 1)):
            with pytest.raises(psycopg.ProgrammingError, match="forbidden"):
                await awaited(consumer.connection.commit)


@pytest.mark.parametrize("kind", ON_SQLITE)
async def test_each_isolation_level_of_sqlite_is_taken(
    consumer: Consumer, connect: Connect
) -> None:
    for level in (None, "", "IMMEDIATE"):
        of_level, topic = await connect(isolation_level=level), f"t{level}"
        assert await of_level.consume("billing", batch(topic, 1)) == [(topic, 1)]
        assert not of_level.is_in_transaction()
        with pytest.raises(Refused):
            await of_level.fail("billing", batch(topic, 2), Refused())
        assert not of_level.is_in_transaction()
        assert await consumer.consume("billing", batch(topic, 1, 2)) == [(topic, 2)]
    assert len(await consumer.effects("billing")) == 6


@pytest.mark.parametrize("kind", ["psycopg", "psycopg-blocking"])
async def test_psycopg_without_autocommit_has_the_block_committed(
    consumer: Consumer, connect: Connect
) -> None:
    without = await connect(autocommit=False)
    deliveries = batch("t", 1)
    await without.consume("billing", deliveries)
    await deliveries.ack()
    assert not without.is_in_transaction()
    assert await consumer.effects("billing") == [("t", 1)]


@pytest.mark.parametrize("kind", ON_POSTGRES)
async def test_own_transaction_reads_what_is_committed_whatever_the_default(
    consumer: Consumer,
) -> None:
    connection = consumer.connection
    await consumer.run("SET default_transaction_isolation = 'serializable'")
    levels: list[psycopg.IsolationLevel | None] = [None]
    if "psycopg" in type(connection).__module__:
        levels += [psycopg.IsolationLevel.SERIALIZABLE, psycopg.IsolationLevel.READ_COMMITTED]
    for level in levels:
        if level is not None:
            await awaited(connection.set_isolation_level, level)
        async with consumer.checkpoint("billing", batch("t", 1)):
            ((isolation,),) = await consumer.run("SHOW transaction_isolation")
        assert isolation == "read committed"
        assert getattr(connection, "isolation_level", None) is level
        with pytest.raises(Refused):
            await consumer.fail("billing", batch("t", 2), Refused())
        assert getattr(connection, "isolation_level", None) is level


@pytest.mark.parametrize("kind", ["asyncpg"])
async def test_block_may_go_on_with_transactions_of_asyncpg(consumer: Consumer) -> None:
    connection = consumer.connection
    async with consumer.checkpoint("billing", batch("t", 1)) as fresh:
        for is_committed in (False, True):
            transaction = connection.transaction()
            await transaction.start()
            await consumer.effect("billing", fresh)
            await (transaction.commit() if is_committed else transaction.rollback())
    assert await consumer.effects("billing") == [("t", 1)]


@pytest.mark.parametrize("kind", ["asyncpg"])
async def test_connection_of_a_pool_of_asyncpg_is_taken(
    consumer: Consumer, kept_database: Database
) -> None:
    deliveries = batch("t", 1, 2)
    async with asyncpg.create_pool(kept_database.dsn, min_size=1, max_size=1) as pool:
        async with pool.acquire() as connection, connection.transaction():
            async with checkpoint(connection, "billing", deliveries) as fresh:
                assert len(fresh) == 2
            with pytest.raises(TransactionOpen):
                await deliveries.ack()
        await deliveries.ack()
        async with (
            pool.acquire() as connection,
            checkpoint(connection, "billing", batch("t", 1, 2, 3)) as fresh,
        ):
            assert [event.offset for event in fresh] == [3]
