"""The poll of heads, by which commits of other aggregators on the same database are noticed.

One statement for all topics that are waited for, one at a time, and none while nobody waits. The
transactions that append know nothing of it.
"""

from aggregator.live.heads import HeadWatch
from aggregator.live.poller import Poller
from storage.protocols import EventReader


class HeadPoller(Poller):
    """Polls the heads of watched topics.

    Args:
        store: the heads are read from it.
        heads: the watch; it is advanced.
        options: see `Poller`.
    """

    def __init__(self, store: EventReader, heads: HeadWatch, **options: float) -> None:
        super().__init__("head-poller", **options)
        self._store = store
        self._heads = heads
        heads.on_first = self.start

    def _wanted(self) -> bool:
        return bool(self._heads)

    async def _ask(self) -> None:
        before = self._heads.known()
        self._heads.polled(await self._store.heads(list(before)), before)
