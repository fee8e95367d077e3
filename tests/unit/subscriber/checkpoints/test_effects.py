"""What is fresh, and that effects happen once, over every kind of connection."""

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from support.checkpoint_consumers import Consumer, places
from support.checkpoint_deliveries import batch, batch_of, delivery
from unit.subscriber.checkpoints.conftest import Connect

from subscriber.blocking_delivery import BlockingBatch
from subscriber.delivery import Delivery
from subscriber.events import NotFromAnAggregator

GREATEST_SEGMENT = 2**62 // 4096


def groups(*sizes: int) -> Iterator[list[Delivery]]:
    """Events of two topics from their beginning, in groups of these sizes, backwards each."""
    first = 1
    for size in sizes:
        yield [delivery(f"t{n % 2}", n) for n in reversed(range(first, first + size))]
        first += size


async def test_events_that_come_again_in_other_groups_have_one_effect(consumer: Consumer) -> None:
    for sizes in ([3, 5, 4], [12], [1, 2, 3, 4, 2], [6, 6], [14]):
        for group in groups(*sizes):
            await consumer.consume("billing", group)
    expected = sorted((f"t{n % 2}", n) for n in range(1, 15))
    assert await consumer.effects("billing") == expected


async def test_fresh_events_are_in_the_order_of_the_batch(consumer: Consumer) -> None:
    await consumer.consume("billing", batch("b", 7, 2))
    mixed = batch_of(("b", 9), ("a", 5000), ("b", 7), ("a", 1), ("b", 2), ("b", 1))
    assert await consumer.consume("billing", mixed) == [
        ("b", 9), ("a", 5000), ("a", 1), ("b", 1)
    ]  # fmt: skip


async def test_what_was_passed_over_is_fresh_when_it_comes(consumer: Consumer) -> None:
    assert await consumer.consume("billing", batch("t", 1, 2, 9000)) == [
        ("t", 1), ("t", 2), ("t", 9000)
    ]  # fmt: skip
    assert await consumer.consume("billing", batch("t", 3, 9000, 8999)) == [("t", 3), ("t", 8999)]
    assert await consumer.consume("billing", delivery("t", 4)) == [("t", 4)]
    assert await consumer.consume("billing", delivery("t", 4)) == []


async def test_offsets_at_the_edge_of_a_segment_are_told_apart(consumer: Consumer) -> None:
    for at in (4096, 8192, 2**62, 2**63 - 2):
        topic = f"t{at}"
        for offset in (at, at - 1, at + 1):
            assert await consumer.consume("billing", batch(topic, offset)) == [(topic, offset)]
        around = range(at - 9, min(at + 9, 2**63))
        expected = [(topic, offset) for offset in around if abs(offset - at) > 1]
        assert await consumer.consume("billing", batch(topic, *around)) == expected


async def test_row_has_a_bit_for_each_offset_from_the_lowest_of_the_first_byte(
    consumer: Consumer,
) -> None:
    await consumer.consume("billing", batch("t", 1, 8, 4095, 4096, 2**62 + 9))
    rows = await consumer.run(
        "SELECT subscription, topic, segment, done FROM subscriber_checkpoints ORDER BY segment"
    )
    assert [tuple(row) for row in rows] == [
        ("billing", "t", 0, bytes([2, 1]) + bytes(509) + bytes([128])),
        ("billing", "t", 1, bytes([1]) + bytes(511)),
        ("billing", "t", GREATEST_SEGMENT, bytes([0, 2]) + bytes(510)),
    ]


async def test_batch_of_many_topics_and_segments_is_noted_whole(consumer: Consumer) -> None:
    events = [(f"t{n % 32}", n * 3000 + 1) for n in range(900)]
    assert await consumer.consume("billing", batch_of(*events)) == events
    assert await consumer.consume("billing", batch_of(*reversed(events), ("t0", 2))) == [("t0", 2)]


async def test_event_that_is_twice_in_a_batch_is_fresh_once(consumer: Consumer) -> None:
    assert await consumer.consume("billing", batch("t", 5, 6, 5, 5)) == [("t", 5), ("t", 6)]


async def test_subscriptions_and_topics_are_apart(consumer: Consumer) -> None:
    for subscription in ("billing", "mail", "Billing", "billing "):
        for topic in ("t", "T", "t.", "t t"):
            assert await consumer.consume(subscription, batch(topic, 1)) == [(topic, 1)]


async def test_names_are_taken_as_they_are(consumer: Consumer) -> None:
    for name in (
        "",
        "'; DROP TABLE effects; --",
        "%s$1?{}\\",
        "é\N{SNOWMAN}\U0001f4a7",
        "x" * 2000,
    ):
        assert await consumer.consume(name, batch_of((name, 1), ("t", 1))) == [(name, 1), ("t", 1)]
        assert await consumer.consume(name, batch_of((name, 1), ("t", 1))) == []


async def test_deliveries_of_a_blocking_subscriber_are_taken(consumer: Consumer) -> None:
    unused: Any = None
    deliveries = BlockingBatch(batch("t", 1, 2), unused)
    assert await consumer.consume("billing", deliveries[1]) == [("t", 2)]
    assert await consumer.consume("billing", deliveries) == [("t", 1)]


async def test_batch_of_nothing_has_nothing_fresh_and_commits_the_block(consumer: Consumer) -> None:
    async with consumer.checkpoint("billing", []) as fresh:
        assert consumer.is_in_transaction()
        await consumer.run("INSERT INTO effects VALUES ('billing', 't', 1)")
    assert fresh == []
    assert await consumer.effects("billing") == [("t", 1)]
    assert not consumer.is_in_transaction()


async def test_block_whose_events_are_all_done_writes_no_row(
    consumer: Consumer, connect: Connect
) -> None:
    await consumer.consume("billing", batch("t", 1, 2))
    version = (
        "SELECT xmin::text FROM subscriber_checkpoints"
        if consumer.backend == "postgres"
        else "PRAGMA data_version"
    )
    observer = await connect()
    before = await observer.run(version)
    assert await consumer.consume("billing", batch("t", 2, 1)) == []
    assert await observer.run(version) == before
    await consumer.consume("billing", batch("t", 3))
    assert await observer.run(version) != before


async def test_event_that_cannot_be_read_undoes_the_block(consumer: Consumer) -> None:
    unreadable = delivery("t", 2, b'{"offset": "none"}')
    with pytest.raises(NotFromAnAggregator):
        await consumer.consume("billing", [delivery("t", 1), unreadable])
    assert not consumer.is_in_transaction()
    assert await consumer.consume("billing", batch("t", 1, 2)) == [("t", 1), ("t", 2)]


async def test_done_event_that_cannot_be_read_is_passed_over(consumer: Consumer) -> None:
    await consumer.consume("billing", batch("t", 1))
    assert await consumer.consume("billing", delivery("t", 1, b"not read")) == []


async def test_list_of_fresh_events_may_be_changed(consumer: Consumer) -> None:
    async with consumer.checkpoint("billing", batch("t", 1, 2)) as fresh:
        fresh.clear()
    assert await consumer.consume("billing", batch("t", 1, 2, 3)) == [("t", 3)]


async def test_rows_of_a_kind_of_their_own_are_no_hindrance(
    consumer: Consumer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    await consumer.consume("billing", batch("t", 1))
    options = {}
    if consumer.backend == "sqlite":
        monkeypatch.setitem(sqlite3.converters, "BYTEA", str)
        options = {"detect_types": sqlite3.PARSE_DECLTYPES}
    other = await connect(**options)
    if consumer.backend == "sqlite":
        other.connection.row_factory = lambda _, row: {"only": row}
        other.connection.text_factory = bytes
    elif "psycopg" in type(other.connection).__module__:
        other.connection.row_factory = lambda _: lambda row: {"only": row}
        other.connection.cursor_factory = None
    async with other.checkpoint("billing", batch("t", 1, 2)) as fresh:
        pass
    assert places(fresh) == [("t", 2)]
