"""The topics that are known to be there, so that few are looked up."""

from collections.abc import Iterable

from storage.protocols import EventReader

MAX_KNOWN = 50_000
"""Greatest number of topics that are remembered."""


class KnownTopics:
    """Remembers topics that are there; a topic that was made stays.

    Args:
        store: tells of the others.
        max_known: greatest number that is remembered. Above it, the oldest are looked up again.
    """

    def __init__(self, store: EventReader, max_known: int = MAX_KNOWN) -> None:
        self._store = store
        self._max_known = max_known
        self._known: dict[str, None] = {}

    def unknown(self, topics: Iterable[str]) -> list[str]:
        """Return those of some topics that are not known, each once and in their order."""
        return [topic for topic in dict.fromkeys(topics) if topic not in self._known]

    def add(self, topics: Iterable[str]) -> None:
        """Remember topics."""
        self._known.update(dict.fromkeys(topics))
        while len(self._known) > self._max_known:
            del self._known[next(iter(self._known))]

    async def look_up(self, topics: list[str]) -> list[str]:
        """Look topics up, and return those that are not there.

        Raises:
            StorageError: the store failed.
        """
        heads = await self._store.heads(topics)
        self.add(topic for topic in topics if heads[topic])
        return [topic for topic in topics if not heads[topic]]
