"""Shared reads: who reads the same page at the same time shares one read.

All that wait for a topic wake together, and most of them for the same page. It is read and encoded
once; other pages take turns, few at a time, so that a thousand of them don't keep out other reads.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from aggregator.live.heads import HeadWatch
from storage.model import Page, Query

MAX_READS = 4
"""At once: as many as there are connections that read, on Postgres."""


class SharedPage(Page[bytes], frozen=True):
    """A page that several have at the same time."""

    coded: dict[str, asyncio.Future[deque[bytes]]] = msgspec.field(default_factory=dict)
    """Its compressed forms by content coding, made by the first of them who wants one."""


ReadPage = Callable[[Query], Awaitable[Page[bytes]]]
"""Reads a page of one topic, and gives it encoded."""


class SharedReads:
    """Reads pages of one topic, each of them once for all that want it meanwhile.

    A read may have begun before somebody joins it, and so be older than what was committed since.
    It watches its topic itself. Whoever joins it, and watches the topic too, therefore finds the
    head above that of the page, and reads again.

    Args:
        heads: the watch of heads.
        read: reads a page.
        max_reads: reads at once; others wait for their turn.
    """

    def __init__(self, heads: HeadWatch, read: ReadPage, *, max_reads: int = MAX_READS) -> None:
        self._heads = heads
        self._read = read
        self._turns = asyncio.Semaphore(max_reads)
        self._under_way: dict[Query, asyncio.Task[SharedPage]] = {}

    async def page(self, query: Query, topic: str) -> SharedPage:
        """Read a page, or share the read of the same one that is under way.

        Args:
            query: the page.
            topic: the topic of the query, which the caller watches.
        """
        task = self._under_way.get(query)
        if task is None:
            task = asyncio.create_task(self._read_in_turn(query, topic), name="shared-read")
            self._under_way[query] = task
            # Nobody may be there any more to see a failure.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Who gives up must not take it from the others.
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Give up the reads under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_in_turn(self, query: Query, topic: str) -> SharedPage:
        with self._heads.watching(topic):
            try:
                async with self._turns:
                    page = await self._read(query)
                return SharedPage(page.parts, page.count, page.next, page.head)
            finally:
                del self._under_way[query]
