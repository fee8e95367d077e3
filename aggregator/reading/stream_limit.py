"""The number of streamed answers at once, and the turns of their reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aggregator.ingest.admission import QueueFull

_MAX_READS = 2
"""Pages that streams read at once, however many streams there are: other reads, and what a store
has of connections, are not kept from anybody."""

_MAX_WAIT_S = 10.0

_MIN_PAGE_BYTES, _MAX_PAGE_BYTES = 64 * 1024, 2**20


class StreamLimit:
    """A bound on streamed answers.

    Args:
        max_streams: streamed answers at once.
        max_bytes: bytes that their pages may take together.
    """

    def __init__(self, max_streams: int, max_bytes: int) -> None:
        self.max_streams = max_streams
        self._max_bytes = max_bytes
        self.open = 0
        """Number of streamed answers, those that follow the log included."""
        self.following = 0
        """Number of those that follow it."""
        self.refused = 0
        """Number of streams refused."""
        self.events = 0
        """Number of events given to clients by streams."""
        self._turns = asyncio.Semaphore(_MAX_READS)

    @property
    def page_bytes(self) -> int:
        """Payload bytes that a page of a stream may have: the more streams, the fewer.

        What streams give that follow the log is counted elsewhere.
        """
        share = self._max_bytes // (2 * max(self.open - self.following, 1))
        return max(_MIN_PAGE_BYTES, min(_MAX_PAGE_BYTES, share))

    def begin(self, *, follows: bool = False) -> None:
        """Count one more.

        Args:
            follows: it follows the log.

        Raises:
            QueueFull: there are as many as may be.
        """
        if self.open >= self.max_streams:
            self.refused += 1
            raise QueueFull(f"{self.open} answers are streamed, as many as may be")
        self.open += 1
        self.following += follows

    def end(self, *, follows: bool = False) -> None:
        """Count one less; see `begin`."""
        self.open -= 1
        self.following -= follows

    @asynccontextmanager
    async def turn(self, *, patient: bool) -> AsyncIterator[None]:
        """Wait for the turn of a read, first come, first served, and hold it in the context.

        Args:
            patient: wait as long as it takes.

        Raises:
            QueueFull: it did not come in time.
        """
        try:
            async with asyncio.timeout(None if patient else _MAX_WAIT_S):
                await self._turns.acquire()
        except TimeoutError as error:
            self.refused += 1
            raise QueueFull(
                f"{self.open} answers are streamed, and this one waited {_MAX_WAIT_S:g} seconds "
                "for its turn to read"
            ) from error
        try:
            yield
        finally:
            self._turns.release()
