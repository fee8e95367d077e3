"""The memory of reads: a bound in bytes on what all of them hold at once.

A read reserves the most that it may need before it fetches anything, and waits its turn when that
is not free; so the sum is bounded, however many reads there are and however large payloads are.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aggregator.ingest.admission import QueueFull

_MAX_WAIT_S = 10.0


class ReadMemory:
    """Reserves memory for reads, first come, first served.

    Args:
        max_bytes: bytes reserved at once; a read that needs more goes alone.
        max_wait_s: longest time that a read waits for its memory, in seconds.
    """

    def __init__(self, max_bytes: int, *, max_wait_s: float = _MAX_WAIT_S) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.refused = 0
        """Number of reads that waited in vain."""
        self._max_wait_s = max_wait_s
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @asynccontextmanager
    async def reserve(self, size: int, *, patient: bool = False) -> AsyncIterator[None]:
        """Reserve memory for as long as the context lasts.

        Args:
            size: bytes.
            patient: wait as long as it takes.

        Raises:
            QueueFull: they did not become free in time.
        """
        await self.acquire(size, patient=patient)
        try:
            yield
        finally:
            self.release(size)

    async def acquire(self, size: int, *, patient: bool = False) -> None:
        """Reserve memory until `release`; see `reserve`."""
        if self._waiting or not self._fits(size):
            await self._wait(size, None if patient else self._max_wait_s)
        else:
            self.bytes += size

    def release(self, size: int) -> None:
        """Give reserved memory back."""
        self.bytes -= size
        self._wake()

    def _fits(self, size: int) -> bool:
        return not self.bytes or self.bytes + size <= self.max_bytes

    async def _wait(self, size: int, max_wait_s: float | None) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, size))
        try:
            async with asyncio.timeout(max_wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # Its turn came in the same moment.
                self.release(size)
            else:
                self._wake()
            if isinstance(error, TimeoutError):
                self.refused += 1
                raise QueueFull(
                    f"reads hold {self.bytes} bytes of memory, at most {self.max_bytes} may be "
                    f"held, and this one waited {self._max_wait_s:g} seconds for {size} more"
                ) from error
            raise

    def _wake(self) -> None:
        while self._waiting:
            turn, size = self._waiting[0]
            if not turn.done():
                if not self._fits(size):
                    return
                self.bytes += size
                turn.set_result(None)
            # Otherwise it has given up.
            self._waiting.popleft()
