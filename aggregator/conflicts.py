"""A warning per conflict, limited in rate: ids that start again with each run make thousands."""

import time
from collections.abc import Iterable

import structlog

from storage.model import Status, Verdict

_log = structlog.get_logger()


class ConflictLog:
    """Warns of conflicts, at most `per_second` a second; the next warning counts the others."""

    def __init__(self, per_second: int = 10) -> None:
        self._per_second = per_second
        self._second = 0
        self._written = 0
        self._left_out = 0

    def note(self, verdicts: Iterable[Verdict], request_id: str) -> None:
        """Warn of every verdict that is a conflict."""
        for verdict in verdicts:
            if verdict.status is not Status.CONFLICT:
                continue
            second = int(time.monotonic())
            if second != self._second:
                self._second, self._written = second, 0
            if self._written >= self._per_second:
                self._left_out += 1
                continue
            self._written += 1
            more = {"left_out_before": self._left_out} if self._left_out else {}
            self._left_out = 0
            _log.warning(
                "conflict",
                topic=verdict.topic,
                event_id=verdict.event_id,
                offset=verdict.offset,
                request_id=request_id,
                **more,
            )
