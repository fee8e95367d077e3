"""The shutdown: orderly at the first signal, at once at the second, never too late.

An orderly shutdown waits: for requests under way, for clients that take their answers, for a
database that tidies up. Each wait is bounded, but a thread that hangs in the kernel can't be ended,
and Python waits for its threads. So a thread beside the event loop keeps the time, and ends the
process whatever it is doing then.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from types import FrameType
from typing import NamedTuple

import structlog

ORDERLY, AT_ONCE = 0, 1
"""Exit statuses of a process that was told to shut down."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_LAST_LINES_AT_ONCE_S, _LAST_LINES_S = 1.0, 5.0
"""For a log that is slow to be read, when the process is to end at once and otherwise."""

_LAST_THREADS_S = 1.0
"""For threads to end once nothing depends on them any more."""

_log = structlog.get_logger()


class _Order(NamedTuple):
    """An action and its due time, as `time.monotonic` has it; the next order replaces it."""

    due: float
    then: Callable[[], None]


class Shutdown:
    """Handles signals and bounds the time of the shutdown, in a thread of its own.

    Args:
        limit_s: longest time for an orderly shutdown, in seconds.
        close_log: writes the log's last lines, in so many seconds at the most.
    """

    def __init__(self, limit_s: float, close_log: Callable[[float], object]) -> None:
        self._limit_s = limit_s
        self._close_log = close_log
        self._signals = 0
        self._begun = False
        self._end: Callable[[], object] | None = None
        self._abandon: Callable[[], object] | None = None
        # A signal may come between any two steps, with a lock held: to put something in here
        # needs none, and starts no thread.
        self._orders: SimpleQueue[_Order] = SimpleQueue()

    def watch(self) -> None:
        """Handle SIGTERM and SIGINT from now on, to the last; called in the main thread."""
        threading.Thread(target=self._run, name="ending", daemon=True).start()
        # Not through the event loop, which there is not at the very end, and which may be stuck.
        for number in _SIGNALS:
            signal.signal(number, self._take_signal)
        # Those that came while the process started have waited.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def attach(self, end: Callable[[], object], abandon: Callable[[], object]) -> None:
        """Set the actions of the shutdown.

        Args:
            end: called at the first signal, between any two steps of the main thread; begins an
                orderly shutdown. Called at once if the signal has come already.
            abandon: called, in another thread, when the shutdown is not waited for any longer;
                must not wait itself.
        """
        self._end, self._abandon = end, abandon
        if self._signals:
            end()

    def begin(self) -> None:
        """Start the time of an orderly shutdown."""
        if not self._begun:
            self._begun = True
            late = f"the end took longer than {self._limit_s:g} s"
            self._order(self._limit_s, partial(self._stop_at_once, late))

    def finish(self, status: int) -> None:
        """Leave, now that the orderly shutdown is done; called in the main thread.

        No signal changes anything any more.

        Args:
            status: exit status of the process.
        """
        for number in _SIGNALS:
            # Python takes its own handlers back as it ends, and a signal would end the process.
            signal.signal(number, signal.SIG_IGN)
        self._order(_LAST_THREADS_S, partial(self._leave, status))

    def _take_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            reason = f"{signal.Signals(number).name} came while the aggregator was ending"
            self._order(0, partial(self._stop_at_once, reason))
            return
        self.begin()
        if self._end is not None:
            # There is nothing to begin where it has been done.
            with suppress(RuntimeError):
                self._end()

    def _order(self, in_s: float, then: Callable[[], None]) -> None:
        self._orders.put(_Order(time.monotonic() + in_s, then))

    def _run(self) -> None:
        order = self._orders.get()
        while True:
            try:
                order = self._orders.get(timeout=max(0.0, order.due - time.monotonic()))
            except Empty:
                order.then()

    def _stop_at_once(self, reason: str) -> None:
        try:
            if self._abandon is not None:
                self._abandon()
            _log.error("stopped_at_once", reason=reason)
            self._close_log(_LAST_LINES_AT_ONCE_S)
        finally:
            os._exit(AT_ONCE)

    def _leave(self, status: int) -> None:
        try:
            self._close_log(_LAST_LINES_S)
        finally:
            os._exit(status)
