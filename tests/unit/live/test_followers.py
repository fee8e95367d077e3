"""Followers: a stream of a pattern joins a topic that is new to it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from support.stores import until

from aggregator.live.followers import Followers
from aggregator.live.heads import HeadWatch
from aggregator.live.log_chunks import Form, LogChunks
from aggregator.live.tails import Tails
from aggregator.live.topic_watch import TopicWatch
from aggregator.reading.read_memory import ReadMemory
from aggregator.reading.stream_limit import StreamLimit
from aggregator.wire.stream_query import Start, StreamRequest
from storage.model import EventColumns, Page, Query
from storage.protocols import EventReader
from storage.topic_patterns import TopicSelection


class Log:
    """A store that has no topic at first, and then one with one event."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    async def heads(self, topics: Sequence[str]) -> dict[str, int]:
        return {topic: self.known.get(topic, 0) for topic in topics}

    async def heads_by_prefix(self, prefix: str, *, after: str | None) -> dict[str, int]:
        assert after is None
        return {topic: head for topic, head in self.known.items() if topic.startswith(prefix)}

    async def read(self, query: Query, encode: Callable[[EventColumns], bytes]) -> Page[bytes]:
        event = EventColumns([b"c.d"], [1], [b"e-1"], [0], [0], [b"s"], [b"{}"])
        return Page([encode(event)], 1, None, 1) if query.after == 0 else Page([], 0, None, 1)


class Outlet:
    """A connection that takes everything."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> bool:
        self.written += data
        return True

    async def drained(self, held: int, drop: Callable[[], object]) -> None:
        raise AssertionError(f"{held} bytes are held, {drop}, though it takes everything at once")


async def test_a_stream_that_sleeps_is_given_a_topic_that_others_have_read_up_to_its_head() -> None:
    log, topics, heads = Log(), TopicWatch(), HeadWatch()
    store = cast("EventReader", log)
    chunks = LogChunks(store, ReadMemory(10**9), 10**6)
    tails = Tails(heads, chunks)
    followers = Followers(
        store=store,
        topics=topics,
        tails=tails,
        chunks=chunks,
        limit=StreamLimit(2, 10**6),
        heartbeat_s=1000,
        lifetime_s=1000,
    )
    sleeper = await followers.open(
        StreamRequest(TopicSelection(["c.*"]), None, Start.NOW), Form.BLOCKS
    )
    outlet = Outlet()
    running = asyncio.create_task(sleeper.run(outlet))
    await until(lambda: b"caught-up" in outlet.written, "the end of what is there")
    # Made through another aggregator, and followed by its name by another stream.
    log.known["c.d"] = 1
    other = await followers.open(
        StreamRequest(TopicSelection(["c.d"]), None, Start.NOW), Form.BLOCKS
    )
    topics.found(["c.d"])
    await until(lambda: sleeper.events == 1, "the event")
    sleeper.stop("the test is over")
    await running
    for follower in (sleeper, other):
        followers.close(follower)
    assert len(tails) == len(followers) == 0
    await chunks.aclose()
