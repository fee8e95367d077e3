"""The observer of flushes: counts and logs them, wakes who waits, suspects a store that failed."""

from collections import Counter
from collections.abc import Callable

from aggregator.ingest.flush import Flush
from aggregator.live.heads import HeadWatch
from aggregator.live.topic_watch import TopicWatch
from aggregator.logging.observer_guard import notify
from aggregator.observability.flush_log import log_flush
from aggregator.observability.metrics.flushes import FlushCounts
from aggregator.subscriptions.notices import Notices
from storage.errors import OutcomeUnknown, StorageError, StorageUnavailable


class FlushObserver:
    """Observes every flush, committed or not.

    Args:
        counts: the metrics of flushes.
        suspect: called with the error of a flush after which the store may be out of reach.
        heads: the watch of heads; it is advanced by what is committed.
        topics: the watch of topics; it is told of those that events were stored in.
        consumers: those that wait for something to lease; they are told as well.
    """

    def __init__(
        self,
        counts: FlushCounts,
        suspect: Callable[[StorageError], object],
        heads: HeadWatch,
        topics: TopicWatch,
        consumers: Notices,
    ) -> None:
        self._counts = counts
        self._suspect = suspect
        self._heads = heads
        self._topics = topics
        self._consumers = consumers

    def __call__(self, flush: Flush) -> None:
        """Observe one flush, before its requests are answered."""
        by_topic = Counter([(verdict.topic, verdict.status) for verdict in flush.verdicts])
        if self._topics:
            # Who learns of a topic now waits for its head, of which the next tells.
            notify(self._topics.observe, by_topic)
        if self._heads:
            notify(self._heads.observe, flush.verdicts, by_topic)
        if self._consumers:
            notify(self._consumers.stored, by_topic)
        notify(self._counts.observe, flush, by_topic)
        notify(log_flush, flush, by_topic)
        if isinstance(flush.error, (StorageUnavailable, OutcomeUnknown)):
            self._suspect(flush.error)
