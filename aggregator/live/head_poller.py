"""The poll of heads, by which commits of other aggregators on the same database are noticed.

One statement for all topics that are waited for, one at a time, and none while nobody waits. The
transactions that append know nothing of it.
"""

import asyncio

from aggregator.live.heads import HeadWatch
from aggregator.logging.observer_guard import log_failure
from storage.errors import StorageError
from storage.protocols import EventReader

_INTERVAL_S = 0.05
"""Between two polls; with one that takes as long, commits are noticed within 100 ms."""

_PAUSE_S = 1.0
"""Behind a poll that failed. Who waits is told by reads of its own, if they fail as well."""


class HeadPoller:
    """Polls the heads of watched topics, in one task that runs only while there are any.

    Args:
        store: the heads are read from it.
        heads: the watch; it is advanced.
        interval_s: seconds between two polls.
    """

    def __init__(
        self, store: EventReader, heads: HeadWatch, *, interval_s: float = _INTERVAL_S
    ) -> None:
        self._store = store
        self._heads = heads
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None
        self.polls = 0
        """Number of polls that were answered."""
        self.failures = 0
        """Number of polls that failed."""
        heads.on_first = self._start

    @property
    def running(self) -> bool:
        """Whether it polls."""
        return self._task is not None and not self._task.done()

    async def aclose(self) -> None:
        """Stop, in the midst of a poll if need be."""
        self._heads.on_first = lambda: None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _start(self) -> None:
        # It may still run for those that are no longer there.
        if not self.running:
            self._task = asyncio.create_task(self._run(), name="head-poller")

    async def _run(self) -> None:
        pause_s = self._interval_s
        while True:
            await asyncio.sleep(pause_s)
            if not self._heads:
                return
            pause_s = self._interval_s if await self._poll() else _PAUSE_S

    async def _poll(self) -> bool:
        try:
            self._heads.advance(await self._store.heads(self._heads.topics))
        except StorageError:
            self.failures += 1
            return False
        except Exception as error:  # noqa: BLE001 - without it, waits would miss other aggregators
            log_failure(self._poll, error)
            self.failures += 1
            return False
        self.polls += 1
        return True
