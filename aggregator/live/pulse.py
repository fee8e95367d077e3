"""The pulse of a stream: when a sign of life is due, and when its life is over."""

import asyncio
from typing import Protocol


class Pulsed(Protocol):
    """Who has a pulse."""

    def on_silence(self) -> None:
        """Take notice of a silence that lasted too long; called after every such silence."""

    def on_end_of_life(self) -> None:
        """Take notice that it is to end; called once."""


class Pulse:
    """Tells a stream when it was silent for too long, and when it is to end.

    Args:
        heartbeat_s: seconds of silence.
        lifetime_s: seconds of its life, from now.
        of: is told.
    """

    __slots__ = ("_ends_at", "_heartbeat_s", "_last", "_loop", "_of", "_timer")

    def __init__(self, heartbeat_s: float, lifetime_s: float, of: Pulsed) -> None:
        self._loop = asyncio.get_running_loop()
        self._heartbeat_s = heartbeat_s
        self._of = of
        self._last = self._loop.time()
        self._ends_at = self._last + lifetime_s
        self._timer = self._set_timer()

    def beat(self) -> None:
        """Take notice that something is written now."""
        # The timer is left as it is: to set another one at each write would cost more.
        self._last = self._loop.time()

    def close(self) -> None:
        """Tell nothing any more."""
        self._timer.cancel()

    def _set_timer(self) -> asyncio.TimerHandle:
        due = min(self._last + self._heartbeat_s, self._ends_at)
        return self._loop.call_at(due, self._on_time)

    def _on_time(self) -> None:
        now = self._loop.time()
        if now >= self._ends_at:
            self._of.on_end_of_life()
            return
        if now >= self._last + self._heartbeat_s:
            self._last = now
            self._of.on_silence()
        self._timer = self._set_timer()
