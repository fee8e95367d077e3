"""A follower: what it writes while its events have to be fetched again."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from support.stores import until

from aggregator.live.follower import Follower
from aggregator.live.heads import HeadWatch
from aggregator.live.log_chunks import Form, LogChunks
from aggregator.live.tails import Tails
from aggregator.reading.read_memory import ReadMemory
from aggregator.wire.stream_query import Start, StreamRequest
from aggregator.wire.topic_selection import TopicSelection
from storage.model import EventColumns, Page, Query
from storage.protocols import EventReader


class Log:
    """A store of one event of a topic, larger than a piece; its reads wait at a gate."""

    def __init__(self) -> None:
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, _query: Query, encode: Callable[[EventColumns], bytes]) -> Page[bytes]:
        self.reads += 1
        await self.gate.wait()
        payload = b'{"t":"%b"}' % (b"x" * 200_000)
        return Page([encode(columns(payload))], 1, None, 1)


def columns(payload: bytes) -> EventColumns:
    return EventColumns([b"t"], [1], [b"e-1"], [0], [0], [b"s"], [payload])


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
    event = form.encode(columns(b'{"t":"%b"}' % (b"x" * 200_000)))
    assert event in b"".join(outlet.written)
    tails.leave("t", form, follower)
    follower.close()
    await chunks.aclose()
