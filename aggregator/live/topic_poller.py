"""The poll of topics, by which those that other aggregators make are noticed.

Only names that may fit a pattern that is followed are read, and none while nobody follows one.
"""

from aggregator.live.poller import Poller
from aggregator.live.topic_listing import list_topics
from aggregator.live.topic_watch import TopicWatch
from storage.protocols import EventReader

_SHARE = 0.1
"""Where there are very many topics, to read their names takes long."""


class TopicPoller(Poller):
    """Polls the names of topics.

    Args:
        store: the names are read from it.
        topics: the watch; it is told all of them.
        options: see `Poller`.
    """

    def __init__(self, store: EventReader, topics: TopicWatch, **options: float) -> None:
        super().__init__("topic-poller", share=_SHARE, **options)
        self._store = store
        self._topics = topics
        topics.on_first = self.start

    def _wanted(self) -> bool:
        return bool(self._topics)

    async def _ask(self) -> None:
        for prefix in self._topics.prefixes:
            async for heads in list_topics(self._store, prefix):
                self._topics.found(heads)
