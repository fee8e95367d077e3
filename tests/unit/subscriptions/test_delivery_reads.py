"""Reads of deliveries: whole ranges in order, cut at the bytes of a lease, from shared chunks."""

import json
from collections.abc import Callable
from typing import cast

import pytest

from aggregator.live import log_chunks
from aggregator.live.log_chunks import LogChunks
from aggregator.reading.read_memory import ReadMemory
from aggregator.subscriptions import delivery_reads as module
from aggregator.subscriptions.delivery_reads import DeliveryReads, ReadDeliveries
from storage.errors import StorageUnavailable
from storage.model import EventColumns, Page, Query
from storage.protocols import EventReader
from storage.subscriptions.outcomes import Granted


class Log:
    """A log of topics that all have as many events."""

    def __init__(self, count: int, payload: str = "{}") -> None:
        self.count = count
        self.payload = payload
        self.asked: list[tuple[str | None, int]] = []

    async def read(self, query: Query, encode: Callable[[EventColumns], bytes]) -> Page[bytes]:
        self.asked.append((query.topic, query.after))
        offsets = list(range(query.after + 1, min(query.after + query.limit, self.count) + 1))
        if not offsets:
            return Page([], 0, None, self.count)
        count, topic = len(offsets), (query.topic or "").encode()
        columns = EventColumns(
            [topic] * count, offsets, [b"e%d" % offset for offset in offsets], [0] * count,
            [0] * count, [b"s"] * count, [self.payload.encode()] * count,
        )  # fmt: skip
        return Page([encode(columns)], count, None, self.count)


def reads_of(log: Log) -> DeliveryReads:
    return DeliveryReads(LogChunks(cast("EventReader", log), ReadMemory(2**26), 2**20))


def deliveries(read: ReadDeliveries) -> list[tuple[str, int, int]]:
    objects = json.loads(b"[" + b",".join(read.parts) + b"]")
    return [(each["event"]["topic"], each["event"]["offset"], each["delivery"]) for each in objects]


async def test_ranges_are_read_in_order_with_their_number_of_deliveries() -> None:
    reads = reads_of(Log(10))
    granted = [Granted("b", 7, 8, 3), Granted("a", 1, 2, 1), Granted("b", 9, 9, 1)]
    read = await reads.read(granted)
    assert deliveries(read) == [("b", 7, 3), ("b", 8, 3), ("a", 1, 1), ("a", 2, 1), ("b", 9, 1)]
    assert read.granted == granted


async def test_consecutive_leases_are_parts_of_one_chunk() -> None:
    log = Log(100)
    reads = reads_of(log)
    found = []
    for first in range(1, 101, 10):
        found += deliveries(await reads.read([Granted("a", first, first + 9, 1)]))
    assert [offset for _, offset, _ in found] == list(range(1, 101))
    assert log.asked == [("a", 0)]


async def test_a_range_over_several_chunks_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_chunks, "_GRID", 4)
    reads = reads_of(Log(20))
    read = await reads.read([Granted("a", 3, 14, 2)])
    assert deliveries(read) == [("a", offset, 2) for offset in range(3, 15)]
    assert [(each.first, each.last) for each in read.granted] == [(3, 4), (5, 8), (9, 12), (13, 14)]


async def test_a_lease_ends_after_the_event_that_fills_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = reads_of(Log(20, '{"a":1}'))
    size = (await reads.read([Granted("a", 1, 1, 1)])).size
    monkeypatch.setattr(module, "LEASE_BYTES", 3 * size)
    read = await reads.read([Granted("a", 1, 9, 1), Granted("b", 1, 1, 1)])
    assert deliveries(read) == [("a", 1, 1), ("a", 2, 1), ("a", 3, 1)]
    monkeypatch.setattr(module, "LEASE_BYTES", 3 * size + 1)
    read = await reads.read([Granted("a", 1, 2, 1), Granted("b", 1, 5, 1)])
    assert deliveries(read) == [("a", 1, 1), ("a", 2, 1), ("b", 1, 1), ("b", 2, 1)]
    monkeypatch.setattr(module, "LEASE_BYTES", 1)
    assert deliveries(await reads.read([Granted("a", 5, 9, 1)])) == [("a", 5, 1)]


async def test_what_is_not_in_the_log_any_more_is_an_error() -> None:
    with pytest.raises(StorageUnavailable, match=r"offset 11 of the topic 'a'.*head is 10"):
        await reads_of(Log(10)).read([Granted("a", 9, 12, 1)])


async def test_where_chunks_begin_is_remembered_for_so_many_topics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MAX_TOPICS", 2)
    monkeypatch.setattr(module, "_MAX_BEGINNINGS", 3)
    monkeypatch.setattr(log_chunks, "_GRID", 2)
    log = Log(40)
    reads = reads_of(log)
    for topic in "abcab":
        for first in (1, 3, 5, 21, 23, 7):
            read = await reads.read([Granted(topic, first, first + 1, 1)])
            assert deliveries(read) == [(topic, first, 1), (topic, first + 1, 1)]
