"""A warning per conflict, limited in rate: ids that start again with each run make thousands."""

from collections.abc import Iterable

import structlog

from aggregator.log.rate_limit import LogRateLimit
from aggregator.request_context import RequestContext
from storage.model import Status, Verdict

_log = structlog.get_logger()


class ConflictLog:
    """Warns of conflicts, at most `per_second` a second; the next warning counts the others."""

    def __init__(self, per_second: int = 10) -> None:
        self._sparing = LogRateLimit("conflict", per_second, level="warning")

    def note(self, verdicts: Iterable[Verdict], context: RequestContext) -> None:
        """Warn of every verdict on a publish that is a conflict."""
        for verdict in verdicts:
            if verdict.status is not Status.CONFLICT:
                continue
            more = self._sparing.fields()
            if more is not None:
                _log.warning(
                    "conflict",
                    topic=verdict.topic,
                    event_id=verdict.event_id,
                    offset=verdict.offset,
                    **context.names,
                    **more,
                )
