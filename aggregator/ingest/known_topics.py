"""The topics that are known to be there, so that few are looked up."""

import asyncio
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
        # The event loop does not keep tasks alive.
        self._look_ups: set[asyncio.Task[list[str]]] = set()

    def unknown(self, topics: Iterable[str]) -> list[str]:
        """Return those of some topics that are not known, each once and in their order."""
        return [topic for topic in dict.fromkeys(topics) if topic not in self._known]

    def add(self, topics: Iterable[str]) -> None:
        """Remember topics."""
        self._known.update(dict.fromkeys(topics))
        while len(self._known) > self._max_known:
            del self._known[next(iter(self._known))]

    def look_up(self, topics: list[str]) -> asyncio.Task[list[str]]:
        """Look topics up.

        Returns:
            A task whose result is those that are not there. It may raise StorageError.
        """
        look_up = asyncio.create_task(self._look_up(topics), name="known-topics")
        self._look_ups.add(look_up)
        look_up.add_done_callback(self._look_ups.discard)
        return look_up

    def close(self) -> None:
        """Cancel the look-ups."""
        for look_up in self._look_ups:
            look_up.cancel()

    async def _look_up(self, topics: list[str]) -> list[str]:
        heads = await self._store.heads(topics)
        self.add(topic for topic in topics if heads[topic])
        return [topic for topic in topics if not heads[topic]]
