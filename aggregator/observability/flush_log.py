"""The log line of a flush."""

from collections.abc import Mapping

import structlog

from aggregator.ingest.flush import Flush, FlushOutcome
from aggregator.observability.labels import OTHER_TOPICS
from storage.errors import StorageError
from storage.model import Status

_MAX_TOPICS = 100
"""Topics that a line names; the others are counted together."""

_log = structlog.get_logger()


def log_flush(flush: Flush, by_topic: Mapping[tuple[str, Status], int]) -> None:
    """Log one flush.

    Args:
        flush: that is over.
        by_topic: its events by topic and verdict; none if it failed.
    """
    fields: dict[str, object] = {
        "events": flush.events,
        "requests": flush.requests,
        "duration_ms": round(flush.duration_ms, 3),
        **flush.log_fields,
    }
    if flush.error is None:
        _log.info("flush", topics=_named(by_topic), **fields)
    elif isinstance(flush.error, StorageError):
        _log.warning("flush_failed", reason=str(flush.error), **fields)
    elif flush.outcome is FlushOutcome.DRAINED:
        _log.warning("flush_failed", reason="drain timeout exceeded", **fields)
    else:
        _log.error("flush_failed", exc_info=flush.error, **fields)


def _named(by_topic: Mapping[tuple[str, Status], int]) -> dict[str, dict[str, int]]:
    named: dict[str, dict[str, int]] = {}
    for (topic, status), count in by_topic.items():
        name = topic if topic in named or len(named) < _MAX_TOPICS else OTHER_TOPICS
        of = named.setdefault(name, {})
        of[status.value] = of.get(status.value, 0) + count
    return named
