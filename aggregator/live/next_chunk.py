"""The next chunk of a stream: from what is kept, as the tail has read it, or from the log."""

import asyncio

from aggregator.live.log_chunks import Form, LogChunk, LogChunks
from aggregator.live.places import Place
from aggregator.live.wakeup import Wakeup


class NextChunk:
    """The chunk that a stream is about to give, or is giving.

    Args:
        form: of its events.
        chunks: it is taken from them, or read through them.
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
        """Have what is behind a place: from what is kept, or from the log.

        The stream may be woken meanwhile, and has none then if it takes longer.

        Raises:
            StorageError: the store failed.
        """
        topic, after = place.tail.topic, place.offset
        chunk = self._chunks.kept(self._form, topic, after)
        if chunk is None:
            self.from_log = True
            reading = self._begin(topic, after)
            if not reading.done():
                reading.add_done_callback(self._wakeup.wake)
                await self._wakeup.sleep()
                if not reading.done():
                    return
            chunk = reading.result()
        # Fetched again, a chunk may be longer and must not be shorter, as an older read would be.
        self._reading = None
        if chunk.last < place.tail.position:
            self._chunks.read_ahead(self._form, topic, chunk.last, place.tail.position)
        self.chunk = chunk

    def _begin(self, topic: str, after: int) -> "asyncio.Task[LogChunk]":
        if self._reading is None or self._reading[:2] != (topic, after):
            self._reading = topic, after, self._chunks.begin(self._form, topic, after)
        return self._reading[2]
