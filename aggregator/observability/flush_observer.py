"""The observer of flushes: counts them, logs them, and suspects the store where one failed."""

from collections import Counter
from collections.abc import Callable

from aggregator.ingest.flush import Flush
from aggregator.logging.observer_guard import notify
from aggregator.observability.flush_log import log_flush
from aggregator.observability.metrics.flushes import FlushCounts
from storage.errors import OutcomeUnknown, StorageError, StorageUnavailable


class FlushObserver:
    """Observes every flush, committed or not.

    Args:
        counts: the metrics of flushes.
        suspect: called with the error of a flush after which the store may be out of reach.
    """

    def __init__(self, counts: FlushCounts, suspect: Callable[[StorageError], object]) -> None:
        self._counts = counts
        self._suspect = suspect

    def __call__(self, flush: Flush) -> None:
        """Observe one flush, before its requests are answered."""
        by_topic = Counter([(verdict.topic, verdict.status) for verdict in flush.verdicts])
        notify(self._counts.observe, flush, by_topic)
        notify(log_flush, flush, by_topic)
        if isinstance(flush.error, (StorageUnavailable, OutcomeUnknown)):
            self._suspect(flush.error)
