"""The wake-up of a stream: what it sleeps on while there is nothing to do."""

import asyncio


class Wakeup:
    """Lets one task sleep until it is woken; a wake-up while it is awake is none."""

    __slots__ = ("_loop", "_waiter")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    @property
    def asleep(self) -> bool:
        """Whether the task sleeps, and was not woken."""
        return self._waiter is not None and not self._waiter.done()

    async def sleep(self, timeout_s: float | None = None) -> None:
        """Sleep until woken.

        Args:
            timeout_s: seconds, after which it is over in any case.
        """
        self._waiter = self._loop.create_future()
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def wake(self, _cause: object = None) -> None:
        """Wake the task, if it sleeps."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
