"""Places of a stream in its topics, and the chunks that come next there."""

import asyncio

from aggregator.live.log_chunks import Form, LogChunk, LogChunks
from aggregator.live.tails import Tail
from aggregator.live.wakeup import Wakeup


class Place:
    """A place in a topic: the offset up to which a reader was given events.

    Args:
        tail: of the topic.
    """

    __slots__ = ("offset", "tail")

    def __init__(self, tail: Tail) -> None:
        self.tail = tail
        self.offset = 0

    @property
    def is_behind(self) -> bool:
        """Whether the tail is ahead of it."""
        return self.tail.position > self.offset

    @property
    def lag(self) -> int:
        """Number of events that it is behind the head."""
        return max(self.tail.head - self.offset, 0)


class NextChunk:
    """The chunk that a stream is about to give, or is giving.

    Args:
        form: of its events.
        chunks: what the tail of a topic does not have is read through them.
        wakeup: of the stream.
    """

    __slots__ = ("_chunks", "_form", "_reading", "_wakeup", "chunk", "from_log")

    def __init__(self, form: Form, chunks: LogChunks, wakeup: Wakeup) -> None:
        self._form = form
        self._chunks = chunks
        self._wakeup = wakeup
        # It may be done while the stream does something else, and is too large to be kept.
        self._reading: tuple[str, int, asyncio.Task[LogChunk]] | None = None
        self.chunk: LogChunk | None = None
        """None: there is none, or it was dropped."""
        self.from_log = False
        """Whether one had to be read from the log since this was last set to False."""

    def drop(self) -> None:
        """Drop it; it can be fetched again, and begins with the same bytes."""
        self.chunk = None

    async def fetch(self, place: Place) -> None:
        """Have what is behind a place: from the tail, from what is kept, or from the log.

        The stream may be woken meanwhile, and has none then if it takes longer.

        Raises:
            StorageError: the store failed.
        """
        topic, after = place.tail.topic, place.offset
        chunk = place.tail.chunk
        if chunk is None or chunk.after != after:
            chunk = self._chunks.kept(self._form, topic, after)
        if chunk is None:
            self.from_log = True
            reading = self._begin(topic, after)
            if not reading.done():
                reading.add_done_callback(self._wakeup.wake)
                await self._wakeup.sleep()
                if not reading.done():
                    return
            self._reading = None
            chunk = reading.result()
        if chunk.last < place.tail.position:
            self._chunks.read_ahead(self._form, topic, chunk.last, place.tail.position)
        self.chunk = chunk

    def _begin(self, topic: str, after: int) -> "asyncio.Task[LogChunk]":
        if self._reading is None or self._reading[:2] != (topic, after):
            self._reading = topic, after, self._chunks.begin(self._form, topic, after)
        return self._reading[2]
