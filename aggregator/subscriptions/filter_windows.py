"""Windows of a filter: which events of a stretch of a topic pass it.

That is found by reads, outside of the transaction that leases, and never changes. So the
transaction costs what it would without a filter, however many events are left out.
"""

from collections.abc import Mapping, Sequence

from storage.protocols import EventReader
from storage.subscriptions.commands import Window

_WINDOW_ROWS = 20_000
"""Rows that are looked at for one window."""

_MAX_KEPT = 256
"""Windows that are kept; each is bounded by its rows."""

MAX_WINDOWS = 10
"""Windows that a lease looks through, one after the other, before it is answered without events."""


class FilterWindows:
    """Finds windows, and keeps the last one of each topic.

    Args:
        store: is read.
    """

    def __init__(self, store: EventReader) -> None:
        self._store = store
        self._kept: dict[tuple[str, str], Window] = {}

    def known(self, source: str, topics: Sequence[str]) -> dict[str, Window]:
        """Return the windows that are kept of topics."""
        kept = ((topic, self._kept.get((source, topic))) for topic in topics)
        return {topic: window for topic, window in kept if window is not None}

    async def find(self, source: str, passed: Mapping[str, int]) -> None:
        """Find what passes behind offsets, and keep it.

        Args:
            source: the filter.
            passed: by topic, the offset behind which to look; below the head.

        Raises:
            StorageError: the store failed.
        """
        heads = await self._store.heads(list(passed))
        for topic, offset in passed.items():
            last = min(offset + _WINDOW_ROWS, heads.get(topic, 0))
            if last <= offset:
                continue
            matches = await self._store.offsets_of_source(topic, source, offset + 1, last)
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[source, topic] = Window(source, offset + 1, last, matches)
