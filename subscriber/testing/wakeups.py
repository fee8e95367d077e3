"""Wakes those that wait for something to lease, in whichever event loop they wait."""

import asyncio
from contextlib import suppress


class Wakeups:
    """Those that wait. Its caller holds a lock around each call."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self) -> "asyncio.Future[None]":
        """Add one that waits in the running event loop; its future is done when it is woken."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        self._waiting[waiting] = loop
        return waiting

    def remove(self, waiting: "asyncio.Future[None]") -> None:
        """Remove one that waits."""
        self._waiting.pop(waiting, None)

    def wake(self) -> None:
        """Wake all, from any thread: something may be there to lease."""
        for waiting, loop in self._waiting.items():
            with suppress(RuntimeError):  # Its loop is closed: nobody waits any more.
                loop.call_soon_threadsafe(_wake, waiting)


def _wake(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
