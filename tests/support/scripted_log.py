"""A log of one topic whose commits, reads and wakes happen one by one, as a test says."""

import asyncio
from collections.abc import Callable

from aggregator.live.heads import HeadWatch
from aggregator.live.shared_reads import SharedReads
from aggregator.live.waits import Wait
from storage.model import Page, Query, Status, Verdict

TOPIC = "t"
_TURNS = 20
"""Of the event loop: more than any task here needs to come to rest."""

MakeReads = Callable[[HeadWatch, Callable[[Query], "asyncio.Future[Page[bytes]]"]], SharedReads]
MakeWait = Callable[[HeadWatch, SharedReads], Wait]


class ScriptedLog:
    """Waits on a log of which every step is taken by the test.

    A read is three steps: it is asked for, the database takes its snapshot, and its page comes. A
    commit is two: it is done in the database, and its flush is observed.

    Args:
        make_reads: makes what shares reads.
        make_wait: makes each wait.
    """

    def __init__(self, make_reads: MakeReads = SharedReads, make_wait: MakeWait = Wait) -> None:
        self.heads = HeadWatch()
        self.reads = make_reads(self.heads, self._read)
        self._make_wait = make_wait
        self.committed = 0
        """Number of events in the database."""
        self.asked: list[tuple[Query, asyncio.Future[Page[bytes]]]] = []
        """Reads without a snapshot."""
        self.snapshots: list[tuple[Query, int, asyncio.Future[Page[bytes]]]] = []
        """Reads whose snapshot has so many events."""
        self.flushes: list[int] = []
        """Heads after commits that were not observed yet."""
        self.waiting: list[tuple[int, Wait, asyncio.Task[Page[bytes]]]] = []
        """Waits with their place, in the order in which they began."""

    async def settle(self) -> None:
        """Let every task go on until it waits for a step."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def wait(self, after: int) -> None:
        """Begin a wait."""
        wait = self._make_wait(self.heads, self.reads)
        query = Query(topic=TOPIC, after=after, newest_first=False)
        page = asyncio.create_task(wait.page(query, TOPIC))
        self.waiting.append((after, wait, page))

    def commit(self) -> None:
        """Commit an event; its flush is not observed yet."""
        self.committed += 1
        self.flushes.append(self.committed)

    def observe(self) -> None:
        """Observe the oldest flush that was not."""
        if self.flushes:
            head = self.flushes.pop(0)
            verdict = Verdict(TOPIC, f"e-{head}", Status.STORED, head)
            self.heads.observe([verdict], [(TOPIC, Status.STORED)])

    def snapshot(self) -> None:
        """Take the snapshot of the oldest read that has none."""
        if self.asked:
            query, page = self.asked.pop(0)
            self.snapshots.append((query, self.committed, page))

    def answer(self) -> None:
        """Give the page of the oldest snapshot."""
        if self.snapshots:
            query, head, page = self.snapshots.pop(0)
            count = max(0, head - query.after)
            if not page.done():
                page.set_result(Page([b"[]"], count, None, head))

    def cancel(self) -> None:
        """Cancel the wait that is under way for the longest time."""
        for _, _, page in self.waiting:
            if not page.done():
                page.cancel()
                return

    async def rest(self) -> None:
        """Take every step that is left, until nothing moves any more."""
        while True:
            await self.settle()
            if self.flushes:
                self.observe()
            elif self.asked:
                self.snapshot()
            elif self.snapshots:
                self.answer()
            else:
                return

    def missed(self) -> list[int]:
        """The places of waits that sleep although there is an event behind them."""
        return [
            after for after, _, page in self.waiting if not page.done() and after < self.committed
        ]

    async def aclose(self) -> None:
        """End every task."""
        for _, _, page in self.waiting:
            page.cancel()
        await asyncio.gather(*(page for _, _, page in self.waiting), return_exceptions=True)
        await self.reads.aclose()

    def _read(self, query: Query) -> "asyncio.Future[Page[bytes]]":
        page: asyncio.Future[Page[bytes]] = asyncio.get_running_loop().create_future()
        self.asked.append((query, page))
        return page
