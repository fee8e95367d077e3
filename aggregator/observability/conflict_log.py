"""The conflict log: a warning per conflict, at a bounded rate.

Ids that start again with each run of a publisher make thousands.
"""

from collections.abc import Iterable

import structlog

from aggregator.logging.rate_limit import LogRateLimit
from aggregator.request_context import RequestContext
from storage.model import Status, Verdict

_log = structlog.get_logger()


class ConflictLog:
    """Warns of conflicts; the next warning counts those that were suppressed.

    Args:
        max_per_second: warnings a second.
    """

    def __init__(self, max_per_second: int = 10) -> None:
        self._rate_limit = LogRateLimit("conflict", max_per_second, level="warning")

    def log(self, verdicts: Iterable[Verdict], context: RequestContext) -> None:
        """Warn of every verdict on a publish that is a conflict."""
        for verdict in verdicts:
            if verdict.status is not Status.CONFLICT:
                continue
            more = self._rate_limit.fields()
            if more is not None:
                _log.warning(
                    "conflict",
                    topic=verdict.topic,
                    event_id=verdict.event_id,
                    offset=verdict.offset,
                    **context.log_fields,
                    **more,
                )
