"""A poll of the store, by which what other aggregators on the same database commit is noticed."""

import asyncio
import time
from abc import ABC, abstractmethod

from aggregator.logging.observer_guard import log_failure
from storage.errors import StorageError

_INTERVAL_S = 0.05
"""Between two polls; with one that takes as long, commits are noticed within 100 ms."""

_MAX_PAUSE_S = 1.0
"""Behind one that took long, perhaps because the machine was busy for a while."""

_PAUSE_S = 1.0
"""Behind a poll that failed. Who waits is told by reads of its own, if they fail as well."""


class Poller(ABC):
    """Polls the store in one task, which runs only while somebody wants to know.

    Args:
        name: of the task.
        share: of the time, that polls may take: behind one that takes long there is a longer pause,
            of a second at most.
        interval_s: seconds between two polls.
    """

    def __init__(self, name: str, *, share: float = 1.0, interval_s: float = _INTERVAL_S) -> None:
        self._name = name
        self._share = share
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.polls = 0
        """Number of polls that were answered."""
        self.failures = 0
        """Number of polls that failed."""

    @abstractmethod
    def _wanted(self) -> bool:
        """Return whether anybody wants to know."""

    @abstractmethod
    async def _ask(self) -> None:
        """Ask the store, and tell who wants to know."""

    @property
    def running(self) -> bool:
        """Whether it polls."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Poll for as long as anybody wants to know."""
        # It may still run for those that are no longer there.
        if not self.running and not self._closed:
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def aclose(self) -> None:
        """Stop, in the midst of a poll if need be."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause_s = self._interval_s
        while True:
            await asyncio.sleep(pause_s)
            if not self._wanted():
                return
            begun = time.perf_counter()
            answered = await self._poll()
            taken_s = time.perf_counter() - begun
            longer_s = min(taken_s * (1 / self._share - 1), _MAX_PAUSE_S)
            pause_s = max(self._interval_s, longer_s) if answered else _PAUSE_S

    async def _poll(self) -> bool:
        try:
            await self._ask()
        except StorageError:
            self.failures += 1
            return False
        except Exception as error:  # noqa: BLE001 - without it, other aggregators would be missed
            log_failure(self._ask, error)
            self.failures += 1
            return False
        self.polls += 1
        return True
