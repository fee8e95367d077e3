"""The line that every flush leaves in the log."""

import asyncio
from collections.abc import Mapping

import structlog

from aggregator.ingest.group_commit import Flush
from aggregator.observability.metrics.flushes import OTHER_TOPICS
from storage.errors import StorageError
from storage.model import Status

_MOST_NAMED = 100
"""Topics that a line names; the others are one more."""

_log = structlog.get_logger()


def log_flush(flush: Flush, counts: Mapping[tuple[str, Status], int]) -> None:
    """Log one flush.

    Args:
        counts: of its events, by topic and verdict; none if it failed.
    """
    fields: dict[str, object] = {
        "events": flush.events,
        "requests": flush.requests,
        "duration_ms": round(flush.duration_ms, 3),
        **flush.names,
    }
    if flush.error is None:
        _log.info("flush", topics=_by_topic(counts), **fields)
    elif isinstance(flush.error, StorageError):
        _log.warning("flush_failed", reason=str(flush.error), **fields)
    elif isinstance(flush.error, asyncio.CancelledError):
        _log.warning("flush_failed", reason="the time for draining is over", **fields)
    else:
        _log.error("flush_failed", exc_info=flush.error, **fields)


def _by_topic(counts: Mapping[tuple[str, Status], int]) -> dict[str, dict[str, int]]:
    named: dict[str, dict[str, int]] = {}
    for (topic, status), count in counts.items():
        name = topic if topic in named or len(named) < _MOST_NAMED else OTHER_TOPICS
        of = named.setdefault(name, {})
        of[status.value] = of.get(status.value, 0) + count
    return named
