"""The chunk that a stream gives next: fetched again, it is never shorter than it was."""

import asyncio
from typing import cast

from aggregator.live.log_chunks import Form, LogChunk, LogChunks
from aggregator.live.next_chunk import NextChunk
from aggregator.live.places import Place
from aggregator.live.tails import Tail
from aggregator.live.wakeup import Wakeup

TOPIC = "t"


def chunk(after: int, last: int) -> LogChunk:
    """A chunk with a block of one byte for each event."""
    return LogChunk(after, last, last, b"e" * (last - after), Form.BLOCKS)


class FakeChunks:
    """Reads that are answered when a test says so, and chunks that are kept as long as it says."""

    def __init__(self) -> None:
        self.held: LogChunk | None = None
        self.asked: list[asyncio.Future[LogChunk]] = []

    def kept(self, _form: Form, _topic: str, after: int) -> LogChunk | None:
        return self.held if self.held is not None and self.held.after == after else None

    def begin(self, _form: Form, _topic: str, _after: int) -> asyncio.Future[LogChunk]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]

    def read_ahead(self, _form: Form, _topic: str, _after: int, _head: int) -> None:
        pass


class FakeTail:
    """A tail that is ahead."""

    topic = TOPIC
    position = 500


async def fetched(following: NextChunk, place: Place) -> LogChunk | None:
    """What a fetch has, which may be nothing yet."""
    await following.fetch(place)
    return following.chunk


async def test_an_older_read_does_not_take_the_place_of_a_longer_chunk_that_was_dropped() -> None:
    chunks, wakeup = FakeChunks(), Wakeup()
    following = NextChunk(Form.BLOCKS, cast("LogChunks", chunks), wakeup)
    place = Place(cast("Tail", FakeTail()))
    fetching = asyncio.create_task(fetched(following, place))
    await asyncio.sleep(0)
    wakeup.wake()
    assert await fetching is None, "it was woken for another topic"
    # The read ends, and is not kept for long; the log has grown when somebody else reads it.
    chunks.asked[0].set_result(chunk(0, 2))
    chunks.held = chunk(0, 9)
    assert await fetched(following, place) is chunks.held
    # A part of it is given, and then it is dropped for others.
    following.drop()
    chunks.held = None
    fetching = asyncio.create_task(fetched(following, place))
    await asyncio.sleep(0)
    assert len(chunks.asked) == 2
    chunks.asked[1].set_result(chunk(0, 9))
    again = await fetching
    assert again is not None
    assert again.last == 9


async def test_a_read_that_ended_meanwhile_is_used_though_it_was_not_kept() -> None:
    chunks, wakeup = FakeChunks(), Wakeup()
    following = NextChunk(Form.BLOCKS, cast("LogChunks", chunks), wakeup)
    place = Place(cast("Tail", FakeTail()))
    fetching = asyncio.create_task(fetched(following, place))
    await asyncio.sleep(0)
    wakeup.wake()
    assert await fetching is None
    chunks.asked[0].set_result(chunk(0, 2))
    found = await fetched(following, place)
    assert found is not None
    assert found.last == 2
    assert len(chunks.asked) == 1
    assert following.from_log
