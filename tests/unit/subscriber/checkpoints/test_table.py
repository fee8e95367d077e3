"""The table is made by one call, from as many processes at once as there are."""

import asyncio

import pytest
from support.checkpoint_consumers import ON_POSTGRES, Consumer
from support.checkpoint_deliveries import batch
from unit.subscriber.checkpoints.conftest import Connect

from subscriber.checkpoints import CHECKPOINT_TABLE, CheckpointDamaged, CheckpointTableMissing
from subscriber.errors import SubscriptionError

DROP = "DROP TABLE subscriber_checkpoints"
FILL = "INSERT INTO subscriber_checkpoints VALUES ('billing', 't', 0, "


async def test_missing_table_is_an_error_that_says_what_to_do(consumer: Consumer) -> None:
    await consumer.run(DROP)
    with pytest.raises(CheckpointTableMissing, match=r"call create_checkpoint_table\(") as raised:
        await consumer.consume("billing", batch("t", 1))
    assert isinstance(raised.value, SubscriptionError)
    assert not consumer.is_in_transaction()
    await consumer.run("BEGIN")
    await consumer.run("INSERT INTO effects VALUES ('mail', 't', 1)")
    with pytest.raises(CheckpointTableMissing):
        await consumer.consume("billing", batch("t", 1))
    await consumer.run("COMMIT")
    assert await consumer.effects("mail") == [("t", 1)]
    await consumer.create_table()
    assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]


async def test_another_missing_table_is_the_blocks_own_affair(consumer: Consumer) -> None:
    with pytest.raises(Exception, match="nowhere") as raised:
        await consumer.consume("billing", batch("t", 1), "SELECT * FROM nowhere")
    assert not isinstance(raised.value, SubscriptionError)


async def test_table_that_is_there_is_kept(consumer: Consumer) -> None:
    await consumer.consume("billing", batch("t", 1))
    await consumer.create_table()
    assert not consumer.is_in_transaction()
    assert await consumer.consume("billing", batch("t", 1)) == []


async def test_table_is_part_of_a_transaction_that_is_open(consumer: Consumer) -> None:
    await consumer.run(DROP)
    for ending in ("ROLLBACK", "COMMIT"):
        await consumer.run("BEGIN")
        await consumer.create_table()
        assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]
        assert consumer.is_in_transaction()
        await consumer.run(ending)
    assert await consumer.consume("billing", batch("t", 1)) == []


async def test_table_is_made_from_several_connections_at_once(
    consumer: Consumer, connect: Connect
) -> None:
    others = [await connect() for _ in range(4)]
    for _ in range(5):
        await consumer.run(DROP)
        await asyncio.gather(*(other.apart(other.create_table()) for other in others))
        assert not any(other.is_in_transaction() for other in others)
        assert await others[0].consume("billing", batch("t", 1)) == [("t", 1)]


async def test_statement_makes_the_table_by_itself(consumer: Consumer) -> None:
    await consumer.run(DROP)
    await consumer.run(CHECKPOINT_TABLE)
    await consumer.run(CHECKPOINT_TABLE)
    assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]


async def test_bitmap_of_another_length_is_refused(consumer: Consumer) -> None:
    bitmap = "'\\x00'" if consumer.backend == "postgres" else "x'00'"
    with pytest.raises(Exception, match=r"(?i)check"):
        await consumer.run(f"{FILL}{bitmap})")
    # A table of somebody's own may lack the check.
    await consumer.run(DROP)
    await consumer.run(CHECKPOINT_TABLE.replace("CHECK (length(done) = 512)", ""))
    try:
        await consumer.run(f"{FILL}{bitmap})")
        with pytest.raises(CheckpointDamaged, match=r"of 't' .* 1 bytes instead of 512"):
            await consumer.consume("billing", batch("t", 1))
    finally:
        await consumer.run(DROP)


@pytest.mark.parametrize("kind", ON_POSTGRES)
async def test_rows_that_are_not_kept_are_an_error(consumer: Consumer) -> None:
    await consumer.consume("billing", batch("t", 1))
    await consumer.run(
        "CREATE OR REPLACE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'"
    )
    await consumer.run(
        "CREATE TRIGGER swallow BEFORE INSERT OR UPDATE ON subscriber_checkpoints"
        " FOR EACH ROW EXECUTE FUNCTION swallow()"
    )
    try:
        with pytest.raises(CheckpointDamaged, match="can't be changed: look for row-level"):
            await consumer.consume("billing", batch("t", 2))
        with pytest.raises(CheckpointDamaged, match="can't be seen after they were inserted"):
            await consumer.consume("billing", batch("t", 5000))
        assert await consumer.effects("billing") == [("t", 1)]
    finally:
        await consumer.run(DROP)


@pytest.mark.parametrize("kind", ON_POSTGRES)
async def test_table_that_is_there_needs_no_right_to_make_one(consumer: Consumer) -> None:
    await consumer.run("CREATE ROLE checkpoint_guest")
    try:
        await consumer.run("GRANT ALL ON subscriber_checkpoints, effects TO checkpoint_guest")
        await consumer.run("SET ROLE checkpoint_guest")
        await consumer.create_table()
        assert await consumer.consume("billing", batch("t", 1)) == [("t", 1)]
    finally:
        await consumer.run("RESET ROLE")
        await consumer.run("DROP OWNED BY checkpoint_guest")
        await consumer.run("DROP ROLE checkpoint_guest")
