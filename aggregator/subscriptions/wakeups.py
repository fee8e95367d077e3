"""Sleepers: those that wait for something to lease from one subscription.

They are woken one at a time, the first that came first, and each that has got something wakes the
next if there is more: a thousand that wait for one event would otherwise all ask for it.
"""

import asyncio


class Sleepers:
    """Those that sleep until there may be something."""

    __slots__ = ("_due_s", "_sleepers", "_timer", "_wakes")

    def __init__(self) -> None:
        self._sleepers: dict[asyncio.Future[None], None] = {}
        self._timer: asyncio.Handle | None = None
        self._due_s = 0.0
        self._wakes = 0

    def __len__(self) -> int:
        return len(self._sleepers)

    @property
    def wakes(self) -> int:
        """Number of times that there may have been something, whoever slept then."""
        return self._wakes

    def add(self) -> "asyncio.Future[None]":
        """Add a sleeper; its future is done when it is woken. It has to be removed."""
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers[sleeper] = None
        return sleeper

    def remove(self, sleeper: "asyncio.Future[None]") -> None:
        """Remove a sleeper."""
        self._sleepers.pop(sleeper, None)
        if not self._sleepers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wake(self) -> None:
        """Wake the first that sleeps."""
        self._wakes += 1
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
                return

    def wake_all(self) -> None:
        """Wake all."""
        self._wakes += 1
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)

    def wake_in(self, delay_s: float) -> None:
        """Wake the first that sleeps in so many seconds, unless that is to be earlier anyway."""
        when_s = asyncio.get_running_loop().time() + delay_s
        if self._timer is not None:
            # Not every loop's handle tells its time: that of a time that is past need not.
            if self._due_s <= when_s:
                return
            self._timer.cancel()
        self._due_s = when_s
        self._timer = asyncio.get_running_loop().call_at(when_s, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self.wake()
