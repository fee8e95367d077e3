"""Upkeep: settles are remembered so that the same can be answered alike, and forgotten in time."""

from aggregator.live.poller import Poller
from aggregator.subscriptions.counters import SubscriptionCounters
from storage.protocols import SubscriptionStore

_INTERVAL_S = 5.0
"""Often, for it looks through all that are remembered."""

_MAX_FORGOTTEN = 2000
"""Settles forgotten in one transaction, for which publishes may have to wait."""


class Upkeep(Poller):
    """Has settles forgotten, every few seconds while there are new ones.

    Args:
        store: forgets.
        counters: count settles.
        options: see `Poller`.
    """

    def __init__(
        self, store: SubscriptionStore, counters: SubscriptionCounters, **options: float
    ) -> None:
        super().__init__("subscription-upkeep", **{"interval_s": _INTERVAL_S, **options})
        self._store = store
        self._counters = counters
        self._done = 0

    def _wanted(self) -> bool:
        return self._counters.settles_done > self._done

    async def _ask(self) -> None:
        done = self._counters.settles_done
        while await self._store.forget_settles(_MAX_FORGOTTEN):
            pass
        self._done = done
