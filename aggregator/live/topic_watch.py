"""The watch of topics: who follows a pattern learns of each topic that fits it and is new.

It is told of topics by flushes and by the poll of topics. Who begins to watch lists what is there
afterwards, so that no topic comes between.
"""

from collections.abc import Callable, Iterable

from storage.model import Status
from storage.topic_patterns import TopicSelection, least_prefixes

_MAX_SEEN = 100_000
"""Names that are remembered. Beyond, all are forgotten, and told again."""


class TopicWatch:
    """Watches for new topics while anybody wants it.

    With nobody, it costs one truth test a flush.
    """

    def __init__(self) -> None:
        self.on_first: Callable[[], object] = lambda: None
        """Callback when somebody watches and nobody did."""
        self._watchers: dict[object, tuple[TopicSelection, Callable[[str], object]]] = {}
        self._seen: set[str] = set()

    def __len__(self) -> int:
        return len(self._watchers)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the names begin with that may fit; none of these begins with another."""
        return least_prefixes(
            prefix for wanted, _ in self._watchers.values() for prefix in wanted.prefixes
        )

    def watch(self, wanted: TopicSelection, found: Callable[[str], object]) -> object:
        """Watch for topics until `unwatch`.

        Args:
            wanted: the topics.
            found: called with the name of one that fits, perhaps more than once.

        Returns:
            What to give to `unwatch`.
        """
        key = object()
        self._watchers[key] = wanted, found
        if len(self._watchers) == 1:
            self._seen.clear()
            self.on_first()
        return key

    def unwatch(self, key: object) -> None:
        """Watch no more."""
        del self._watchers[key]

    def observe(self, counted: Iterable[tuple[str, Status]]) -> None:
        """Take notice of what a flush has committed.

        Args:
            counted: the pairs of topic and status, each once.
        """
        self.found(name for name, status in counted if status is Status.STORED)

    def found(self, names: Iterable[str]) -> None:
        """Tell who wants to know of names that were not told yet."""
        for name in names:
            if name in self._seen:
                continue
            if len(self._seen) >= _MAX_SEEN:
                self._seen.clear()
            self._seen.add(name)
            for wanted, found in list(self._watchers.values()):
                if wanted.matches(name):
                    found(name)
