"""Where a transaction is open a checkpoint joins it: its caller commits, and then acknowledges."""

import sqlite3

import pytest
from support.checkpoint_consumers import ON_POSTGRES, ON_SQLITE, Consumer, places
from support.checkpoint_deliveries import batch
from unit.subscriber.checkpoints.conftest import Connect

from subscriber.delivery import Fate
from subscriber.errors import TransactionOpen


class Refused(Exception):
    """Leaves a block."""


async def failing(consumer: Consumer, *offsets: int) -> None:
    """A block that writes and then fails."""
    with pytest.raises(Refused):
        await consumer.fail("billing", batch("t", *offsets), Refused())


async def test_caller_commits(consumer: Consumer, connect: Connect) -> None:
    other = await connect()
    await consumer.run("BEGIN")
    await consumer.consume("billing", batch("t", 1))
    await consumer.consume("billing", batch("t", 1, 2))
    assert consumer.is_in_transaction()
    assert await other.effects("billing") == []
    await consumer.run("COMMIT")
    assert await other.effects("billing") == [("t", 1), ("t", 2)]
    assert await other.consume("billing", batch("t", 1, 2, 3)) == [("t", 3)]


async def test_callers_rollback_undoes_effects_and_notes(consumer: Consumer) -> None:
    await consumer.run("BEGIN")
    await consumer.consume("billing", batch("t", 1))
    await consumer.run("ROLLBACK")
    assert await consumer.effects("billing") == []
    assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]


async def test_exception_undoes_the_block_and_the_transaction_goes_on(consumer: Consumer) -> None:
    await consumer.run("BEGIN")
    await consumer.consume("billing", batch("t", 1))
    await failing(consumer, 1, 2)
    await failing(consumer, 2)
    if consumer.backend == "sqlite":
        with pytest.raises(sqlite3.OperationalError, match="no such savepoint"):
            await consumer.run("RELEASE subscriber_checkpoint")
    assert consumer.is_in_transaction()
    assert await consumer.effects("billing") == [("t", 1)]
    await consumer.consume("billing", batch("t", 3))
    await consumer.run("COMMIT")
    assert await consumer.effects("billing") == [("t", 1), ("t", 3)]
    assert await consumer.consume("billing", batch("t", 1, 2, 3)) == [("t", 2)]


async def test_error_of_a_statement_undoes_the_block_and_the_transaction_goes_on(
    consumer: Consumer,
) -> None:
    await consumer.run("BEGIN")
    await consumer.consume("billing", batch("t", 1))
    with pytest.raises(Exception, match="nowhere"):
        await consumer.consume("billing", batch("t", 2), "SELECT * FROM nowhere")
    await consumer.run("COMMIT")
    assert await consumer.effects("billing") == [("t", 1)]


@pytest.mark.parametrize("kind", ON_POSTGRES)
async def test_error_that_the_block_passes_over_is_told_at_its_end_and_undone(
    consumer: Consumer,
) -> None:
    await consumer.run("BEGIN")
    await consumer.consume("billing", batch("t", 1))
    for offset in (1, 2):
        block = consumer.checkpoint("billing", batch("t", offset))
        await block.__aenter__()
        with pytest.raises(Exception, match="nowhere"):
            await consumer.run("SELECT * FROM nowhere")
        with pytest.raises(Exception, match="transaction is aborted"):
            await block.__aexit__(None, None, None)
    await consumer.consume("billing", batch("t", 3))
    await consumer.run("COMMIT")
    assert await consumer.effects("billing") == [("t", 1), ("t", 3)]


async def test_acknowledgement_is_refused_until_the_caller_has_committed(
    consumer: Consumer,
) -> None:
    deliveries = batch("t", 1, 2)
    await consumer.run("BEGIN")
    await consumer.consume("billing", deliveries)
    with pytest.raises(TransactionOpen, match="commit before"):
        await deliveries.ack()
    with pytest.raises(TransactionOpen):
        await deliveries[1].ack()
    assert {each.fate for each in deliveries} == {Fate.OPEN}
    await consumer.run("COMMIT")
    await deliveries.ack()
    assert {each.fate for each in deliveries} == {Fate.ACK}


async def test_acknowledgement_that_was_allowed_once_is_not_refused_for_a_later_transaction(
    consumer: Consumer,
) -> None:
    deliveries = batch("t", 1)
    await consumer.run("BEGIN")
    await consumer.consume("billing", deliveries)
    await consumer.run("COMMIT")
    deliveries[0].check_ack()
    await consumer.run("BEGIN")
    await deliveries.ack()


async def test_what_is_not_acknowledged_may_be_settled_in_the_transaction(
    consumer: Consumer,
) -> None:
    deliveries = batch("t", 1, 2)
    await consumer.run("BEGIN")
    await consumer.consume("billing", deliveries)
    await deliveries[0].retry()
    await deliveries.release()
    assert [each.fate for each in deliveries] == [Fate.RETRY, Fate.RELEASE]


async def test_acknowledgement_is_not_refused_for_a_block_that_failed(consumer: Consumer) -> None:
    # Its second half may be handled in another transaction, which says so itself.
    deliveries = batch("t", 1)
    await consumer.run("BEGIN")
    with pytest.raises(Refused):
        await consumer.fail("billing", deliveries, Refused())
    await deliveries.ack()


async def test_acknowledgement_asks_nothing_of_a_closed_connection(
    consumer: Consumer, connect: Connect
) -> None:
    deliveries, other = batch("t", 1), await connect()
    await other.run("BEGIN")
    await other.consume("billing", deliveries)
    await other.run("COMMIT")
    await other.close()
    await deliveries.ack()


@pytest.mark.parametrize("kind", ["psycopg", "psycopg-blocking", *ON_SQLITE])
async def test_a_transaction_that_the_driver_began_is_joined(
    consumer: Consumer, connect: Connect
) -> None:
    is_sqlite = consumer.backend == "sqlite"
    driver = await (connect(isolation_level="") if is_sqlite else connect(autocommit=False))
    await driver.run("INSERT INTO effects VALUES ('before', 't', 0)")
    deliveries = batch("t", 1)
    await driver.consume("billing", deliveries)
    with pytest.raises(TransactionOpen):
        await deliveries.ack()
    assert await consumer.effects("billing") == []
    await driver.run("COMMIT")
    await deliveries.ack()
    assert await consumer.effects("billing") == [("t", 1)]


@pytest.mark.parametrize("kind", ON_POSTGRES)
async def test_events_done_since_the_snapshot_are_an_error_and_not_fresh(
    consumer: Consumer, connect: Connect
) -> None:
    other = await connect()
    # With a row that was there, and with one that was not.
    for isolation, offset in (("REPEATABLE READ", 1), ("SERIALIZABLE", 2), ("SERIALIZABLE", 5000)):
        await consumer.run(f"BEGIN ISOLATION LEVEL {isolation}")
        await consumer.run("SELECT * FROM effects")
        await other.consume("billing", batch("t", offset))
        with pytest.raises(Exception, match="could not serialize") as raised:
            await consumer.consume("billing", batch("t", offset))
        assert raised.value.sqlstate == "40001"  # type: ignore[attr-defined]
        await consumer.run("ROLLBACK")
        assert await consumer.consume("billing", batch("t", offset)) == []


@pytest.mark.parametrize("kind", ["asyncpg"])
async def test_transaction_of_asyncpg_is_joined(consumer: Consumer) -> None:
    connection, deliveries = consumer.connection, batch("t", 1, 2)
    async with connection.transaction():
        await consumer.consume("billing", deliveries[0])
        await failing(consumer, 2)
        async with connection.transaction():
            await consumer.consume("billing", deliveries[1])
            with pytest.raises(TransactionOpen):
                await deliveries.ack()
    await deliveries.ack()
    assert await consumer.effects("billing") == [("t", 1), ("t", 2)]


@pytest.mark.parametrize("kind", ["psycopg"])
async def test_transaction_of_psycopg_is_joined(consumer: Consumer) -> None:
    connection, deliveries = consumer.connection, batch("t", 1)
    async with connection.transaction():
        await failing(consumer, 2)
        await consumer.consume("billing", deliveries)
        with pytest.raises(TransactionOpen):
            await deliveries.ack()
    await deliveries.ack()
    assert await consumer.effects("billing") == [("t", 1)]


@pytest.mark.parametrize("kind", ["sqlite3"])
async def test_transaction_of_sqlite3_is_joined(consumer: Consumer) -> None:
    deliveries = batch("t", 1)
    with consumer.connection:
        await consumer.run("BEGIN")
        await consumer.consume("billing", deliveries)
        await failing(consumer, 2)
        with pytest.raises(TransactionOpen):
            await deliveries.ack()
    await deliveries.ack()
    assert await consumer.effects("billing") == [("t", 1)]


async def test_fresh_events_of_a_joined_block_are_not_fresh_for_the_next(
    consumer: Consumer,
) -> None:
    await consumer.run("BEGIN")
    await consumer.consume("billing", batch("t", 1))
    async with consumer.checkpoint("billing", batch("t", 1, 2)) as fresh:
        pass
    assert places(fresh) == [("t", 2)]
    await consumer.run("COMMIT")
