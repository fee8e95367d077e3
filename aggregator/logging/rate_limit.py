"""A rate limit on log lines that may come in thousands; suppressed ones are counted."""

import asyncio
import time
from typing import Literal
from weakref import WeakSet

import structlog

_limited: WeakSet["LogRateLimit"] = WeakSet()
_log = structlog.get_logger()


class LogRateLimit:
    """A limit on the rate of one kind of log line.

    The next line that is written says how many were suppressed before it. Where none follows in
    the next period, a line `log_lines_suppressed` says it instead: the end of a burst is counted
    too. The count is named `left_out_before` as well, its former name.

    Args:
        of: the kind, which is the `event` of its lines.
        max_lines: lines in each period.
        every_s: the length of a period, in seconds.
        level: of the lines, and so of the one that counts them.
    """

    def __init__(
        self,
        of: str,
        max_lines: int,
        *,
        every_s: float = 1.0,
        level: Literal["info", "warning", "error"] = "info",
    ) -> None:
        self._of = of
        self._max_lines = max_lines
        self._every_s = every_s
        self._level = level
        self._period = 0
        self._written = 0
        self._suppressed = 0
        self._timer: asyncio.TimerHandle | None = None
        _limited.add(self)

    def fields(self) -> dict[str, int] | None:
        """Return the fields that count the lines suppressed before this one; None: suppress it."""
        self._begin_period()
        if self._written >= self._max_lines:
            self._suppressed += 1
            if self._timer is None:
                self._set_timer()
            return None
        self._written += 1
        return self._counted()

    def write_count(self) -> None:
        """Log how many lines were suppressed since the last that was written, if any were."""
        if counted := self._counted():
            line = getattr(_log, self._level)
            line("log_lines_suppressed", of=self._of, **counted)

    def _counted(self) -> dict[str, int]:
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed_fields(suppressed)

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
        elif self._suppressed:
            # The burst goes on, and its next line has the count.
            self._set_timer()


def suppressed_fields(suppressed: int) -> dict[str, int]:
    """Return the fields that count suppressed lines; none for 0."""
    return {"suppressed": suppressed, "left_out_before": suppressed} if suppressed else {}


def write_counts() -> None:
    """Log every count that no line has yet; for the end of the process."""
    for each in list(_limited):
        each.write_count()
