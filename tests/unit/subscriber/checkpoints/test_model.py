"""Random deliveries, failing blocks and transactions, held against a set of what is done."""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.backends import Database
from support.checkpoint_consumers import KINDS, Consumer
from support.checkpoint_deliveries import batch_of

Place = tuple[str, int]
numbers = count()

places = st.tuples(
    st.sampled_from(["a", "b"]), st.integers(1, 6) | st.integers(4094, 4098) | st.just(2**62)
)
batches = st.lists(places, min_size=1, max_size=6)


class Block(NamedTuple):
    """A checkpoint of a batch, which may fail."""

    events: Sequence[Place]
    fails: bool


class Transaction(NamedTuple):
    """Blocks that join a transaction, and how it ends."""

    blocks: Sequence[Block]
    ending: str


blocks = st.builds(Block, batches, st.sampled_from([False, False, True]))
transactions = st.builds(
    Transaction, st.lists(blocks, max_size=3), st.sampled_from(["COMMIT", "COMMIT", "ROLLBACK"])
)
histories = st.lists(blocks | transactions, min_size=1, max_size=6)


class Failed(Exception):
    """Leaves a block."""


async def play(consumer: Consumer, subscription: str, block: Block, done: set[Place]) -> None:
    """Handle a batch, and hold what is fresh against what is done."""
    expected = [event for event in dict.fromkeys(block.events) if event not in done]
    if block.fails:
        with pytest.raises(Failed):
            await consumer.fail(subscription, batch_of(*block.events), Failed())
    else:
        assert await consumer.consume(subscription, batch_of(*block.events)) == expected
        done |= set(expected)


async def run(database: Database, kind: str, history: Sequence[Block | Transaction]) -> None:
    consumer, subscription = await KINDS[kind].connect(database), f"model-{next(numbers)}"
    done: set[Place] = set()
    try:
        for step in history:
            if isinstance(step, Block):
                await play(consumer, subscription, step, done)
            else:
                await consumer.run("BEGIN")
                inside = set(done)
                for block in step.blocks:
                    await play(consumer, subscription, block, inside)
                await consumer.run(step.ending)
                done = inside if step.ending == "COMMIT" else done
            assert await consumer.effects(subscription) == sorted(done)
    finally:
        await consumer.close()


def test_effects_and_fresh_events_are_those_of_the_model(
    kind: str, kept_database: Database
) -> None:
    async def prepare() -> None:
        consumer = await KINDS[kind].connect(kept_database)
        await consumer.prepare()
        await consumer.close()

    @settings(
        max_examples=settings().max_examples // 3,
        suppress_health_check=[*HealthCheck],
    )
    @given(history=histories)
    def agrees(history: Sequence[Block | Transaction]) -> None:
        runner.run(run(kept_database, kind, history))

    with asyncio.Runner() as runner:
        runner.run(prepare())
        agrees()
