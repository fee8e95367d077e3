"""A follower: what it writes while its events are fetched again, and what it holds meanwhile."""

import asyncio
import gc
from collections.abc import Callable
from typing import cast

import pytest
from support.stores import until

from aggregator.live.follower import Follower
from aggregator.live.heads import HeadWatch
from aggregator.live.log_chunks import Form, LogChunk, LogChunks
from aggregator.live.tails import Tails
from aggregator.reading.read_memory import ReadMemory
from aggregator.wire.stream_query import Start, StreamRequest
from storage.model import EventColumns, Page, Query
from storage.protocols import EventReader
from storage.topic_patterns import TopicSelection

PAYLOAD = b'{"t":"%b"}' % (b"x" * 200_123)


class Log:
    """A store of one event of a topic, larger than a piece; its reads wait at a gate."""

    def __init__(self) -> None:
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, _query: Query, encode: Callable[[EventColumns], bytes]) -> Page[bytes]:
        self.reads += 1
        await self.gate.wait()
        return Page([encode(columns())], 1, None, 1)


def columns() -> EventColumns:
    return EventColumns([b"t"], [1], [b"e-1"], [0], [0], [b"s"], [PAYLOAD])


def chunks_in_memory() -> int:
    """The number of chunks of that event that anything holds."""
    size = len(Form.BLOCKS.encode(columns()))
    found = [each for each in gc.get_objects() if isinstance(each, LogChunk)]
    return sum(chunk.pieces.size == size for chunk in found)


class Outlet:
    """A connection whose reader is slow: others need the room of what is held behind a write."""

    def __init__(self, log: Log) -> None:
        self.written: list[bytes] = []
        self.shut: asyncio.Event | None = log.gate

    def write(self, data: bytes) -> bool:
        self.written.append(data)
        return False

    async def drained(self, held: int, drop: Callable[[], object]) -> None:
        if held and self.shut is not None:
            drop()
            self.shut.clear()
            self.shut = None


@pytest.mark.parametrize("form", Form)
async def test_a_sign_of_life_is_never_given_in_the_midst_of_an_event(form: Form) -> None:
    log = Log()
    chunks = LogChunks(cast("EventReader", log), ReadMemory(10**9), 0)
    request = StreamRequest(TopicSelection(["t"]), None, Start.LOG_START)
    follower = Follower(request, form, chunks, heartbeat_s=1000, lifetime_s=1000)
    tails = Tails(HeadWatch(), chunks)
    tail = tails.follow("t", form, follower)
    tail.begin(1)
    follower.places.join(tail)
    outlet = Outlet(log)
    running = asyncio.create_task(follower.run(outlet))
    await until(lambda: log.reads == 2, "the read of what was dropped")
    begun = len(outlet.written)
    follower.on_silence()
    assert len(outlet.written) == begun
    log.gate.set()
    await until(lambda: follower.events == 1, "the event")
    follower.stop("the test is over")
    await running
    assert form.encode(columns()) in b"".join(outlet.written)
    tails.leave("t", form, follower)
    follower.close()
    await chunks.aclose()


class Stalled(Outlet):
    """A connection whose reader takes nothing once the first piece is there."""

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.taken = asyncio.Event()

    async def drained(self, held: int, drop: Callable[[], object]) -> None:
        if held:
            drop()
            await self.taken.wait()


@pytest.mark.parametrize("slow", [True, False])
async def test_no_chunk_is_held_for_a_reader_that_takes_nothing_nor_for_one_that_has_taken_it(
    *, slow: bool
) -> None:
    log = Log()
    # Nothing is kept for others: what is left is held by the stream, or by the tail.
    chunks = LogChunks(cast("EventReader", log), ReadMemory(10**9), 0)
    request = StreamRequest(TopicSelection(["t"]), None, Start.NOW)
    follower = Follower(request, Form.BLOCKS, chunks, heartbeat_s=1000, lifetime_s=1000)
    heads = HeadWatch()
    tails = Tails(heads, chunks)
    tail = tails.follow("t", Form.BLOCKS, follower)
    tail.begin(0)
    follower.places.join(tail)
    outlet = Stalled(log)
    if not slow:
        outlet.taken.set()
    running = asyncio.create_task(follower.run(outlet))
    heads.advance({"t": 1})
    if slow:
        await until(lambda: len(outlet.written) > 1, "the first piece")
    else:
        await until(lambda: follower.events == 1, "the event")
    assert chunks_in_memory() == 0
    outlet.taken.set()
    await until(lambda: follower.events == 1, "the event")
    assert Form.BLOCKS.encode(columns()) in b"".join(outlet.written)
    follower.stop("the test is over")
    await running
    tails.leave("t", Form.BLOCKS, follower)
    follower.close()
    await chunks.aclose()


async def test_one_that_is_ended_before_it_begins_says_from_where_to_go_on() -> None:
    log = Log()
    chunks = LogChunks(cast("EventReader", log), ReadMemory(10**9), 0)
    request = StreamRequest(TopicSelection(["t"]), None, Start.NOW)
    follower = Follower(request, Form.BLOCKS, chunks, heartbeat_s=1000, lifetime_s=1000)
    tails = Tails(HeadWatch(), chunks)
    tail = tails.follow("t", Form.BLOCKS, follower)
    tail.begin(1)
    follower.places.join(tail)
    follower.places.go_on("t", 1, 1)
    follower.stop("shutdown")
    outlet = Outlet(log)
    await follower.run(outlet)
    assert b"".join(outlet.written) == b"retry: 1000\nevent: position\nid: 1\ndata: 1\n\n"
    tails.leave("t", Form.BLOCKS, follower)
    follower.close()
