"""Log lines that may come in thousands, limited in rate and counted where they are left out."""

import asyncio
import time
from typing import Literal
from weakref import WeakSet

import structlog

_limited: WeakSet["LogRateLimit"] = WeakSet()
_log = structlog.get_logger()


class LogRateLimit:
    """A limit on the rate of one kind of log line.

    The next line that is written says how many were left out before it. Where none follows in the
    next period, a line `log_lines_suppressed` says it instead: the end of a burst is counted too.

    Args:
        of: the kind, which is the `event` of its lines.
        most: lines in each period.
        every_s: the length of a period, in seconds.
        level: of the lines, and so of the one that counts them.
    """

    def __init__(
        self,
        of: str,
        most: int,
        *,
        every_s: float = 1.0,
        level: Literal["info", "warning", "error"] = "info",
    ) -> None:
        self._of = of
        self._most = most
        self._every_s = every_s
        self._level = level
        self._period = 0
        self._written = 0
        self._left_out = 0
        self._timer: asyncio.TimerHandle | None = None
        _limited.add(self)

    def fields(self) -> dict[str, int] | None:
        """None if the line is to be left out; else what it says of those left out before it."""
        self._begin_period()
        if self._written >= self._most:
            self._left_out += 1
            if self._timer is None:
                self._set_timer()
            return None
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return {"left_out_before": left_out} if left_out else {}

    def write_count(self) -> None:
        """Log how many lines were left out since the last that was written, if any were."""
        left_out, self._left_out = self._left_out, 0
        if left_out:
            line = getattr(_log, self._level)
            line("log_lines_suppressed", of=self._of, left_out_before=left_out)

    def _begin_period(self) -> None:
        period = int(time.monotonic() / self._every_s)
        if period != self._period:
            self._period, self._written = period, 0

    def _set_timer(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # In a thread without one: the next line has the count, or the end of the process.
            return
        self._timer = loop.call_later(self._every_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._begin_period()
        if not self._written:
            self.write_count()
        elif self._left_out:
            # The burst goes on, and its next line will tell.
            self._set_timer()


def write_counts() -> None:
    """Log every count that no line has told yet; for the end of the process."""
    for each in list(_limited):
        each.write_count()
