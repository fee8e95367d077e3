"""Waits: reads that are held until something passes their filters.

A wait ends by itself as soon as there is a page with events; it is ended by its time, by its client
that goes, and by the shutdown. However it ends, it has a page: what is there, or an empty one.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.live.heads import HeadWatch, WatchedTopic
from aggregator.live.shared_reads import SharedPage, SharedReads
from storage.model import Query


class Wait:
    """One read that is held.

    Args:
        heads: the watch of heads.
        reads: the reads that waits share.
    """

    __slots__ = ("_heads", "_reads", "_sleeper", "ended")

    def __init__(self, heads: HeadWatch, reads: SharedReads) -> None:
        self._heads = heads
        self._reads = reads
        self._sleeper: asyncio.Future[None] | None = None
        self.ended = False
        """Whether nothing more is waited for."""

    def end(self) -> None:
        """Wait for nothing more; what is read by then is the page."""
        self.ended = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def sleep(self, sleeper: "asyncio.Future[None]") -> None:
        """Sleep until a future is done; the end of the wait makes it so."""
        self._sleeper = sleeper
        if self.ended and not sleeper.done():
            sleeper.set_result(None)
        await sleeper
        self._sleeper = None

    async def page(self, query: Query, topic: str) -> SharedPage:
        """Read until a page has events or the wait is ended.

        Args:
            query: the page, in ascending order and without an end in time.
            topic: the topic of the query.

        Returns:
            The first page with events. If the wait was ended before, an empty one: nothing up to
            its head passes the filters, or up to its `next`, if it has one.
        """
        # Before the read: see `aggregator.live.heads`.
        with self._heads.watching(topic) as watched:
            while True:
                page = await self._reads.page(query, topic)
                if page.count or self.ended:
                    return page
                if page.next is not None:
                    query = replace(query, position=page.next)
                    continue
                seen = max(query.after, page.head or 0)
                await self._sleep(watched, seen)
                if watched.head <= seen:
                    return page
                query = replace(query, after=seen, position=None)

    async def _sleep(self, watched: WatchedTopic, seen: int) -> None:
        with watched.sleeper(seen) as self._sleeper:
            await self._sleeper
        self._sleeper = None


class Waits:
    """The room for waits.

    Args:
        heads: the watch of heads.
        reads: the reads that waits share.
        max_waits: waits at once.
    """

    def __init__(self, heads: HeadWatch, reads: SharedReads, *, max_waits: int) -> None:
        self.max_waits = max_waits
        self.refused = 0
        """Number of waits refused."""
        self._heads = heads
        self._reads = reads
        self._open: set[Wait] = set()
        self.draining = False
        """Whether waits were ended, and no more are held."""

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def hold(self, wait_s: float) -> Iterator[Wait]:
        """Begin a wait, which keeps its place for as long as the context lasts.

        Args:
            wait_s: its time in seconds.

        Raises:
            QueueFull: there are as many as may be.
            ShuttingDown: the aggregator drains.
        """
        if self.draining:
            raise ShuttingDown("the aggregator is shutting down")
        if len(self._open) >= self.max_waits:
            self.refused += 1
            raise QueueFull(f"{len(self._open)} requests that wait are held, as many as may be")
        wait = Wait(self._heads, self._reads)
        self._open.add(wait)
        timer = asyncio.get_running_loop().call_later(wait_s, wait.end)
        try:
            yield wait
        finally:
            timer.cancel()
            self._open.discard(wait)

    def drain(self) -> None:
        """End every wait, and hold no more."""
        self.draining = True
        for wait in self._open:
            wait.end()
