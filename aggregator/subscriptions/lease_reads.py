"""Reads of what was leased: a lease is trimmed to what fits, and released if it can't be read."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace

from aggregator.ingest.group_commit import ShuttingDown
from aggregator.subscriptions.command_queue import CommandQueue
from aggregator.subscriptions.counters import SubscriptionCounters
from aggregator.subscriptions.delivery_reads import DeliveryReads, ReadDeliveries
from aggregator.subscriptions.errors import SubscriptionRefused, refusal
from storage.errors import StorageError
from storage.subscriptions.commands import Settle, Token
from storage.subscriptions.outcomes import Granted, Leased, Refusal, Settled


class LeaseReads:
    """Reads the events of leases.

    Args:
        queue: has commands done.
        reads: reads what is handed out.
        counters: count leases that are not written.
    """

    def __init__(
        self, queue: CommandQueue, reads: DeliveryReads, counters: SubscriptionCounters
    ) -> None:
        self._queue = queue
        self._reads = reads
        self._counters = counters

    async def read(
        self, name: str, consumer: str, lease: str, leased: Leased
    ) -> tuple[Token, ReadDeliveries]:
        """Read what was leased, and trim the lease to that; release it if it can't be read."""
        subscription = leased.subscription
        token = Token(subscription.id, lease, consumer, _extents(leased.granted))
        try:
            read = await self._reads.read(leased.granted)
            if count(read.granted) < count(leased.granted):
                await self._trim(name, token, leased.granted, read.granted)
                token = Token(subscription.id, lease, consumer, _extents(read.granted))
        except BaseException:
            self._counters.unwritten += 1
            with suppress(StorageError, SubscriptionRefused, ShuttingDown):
                await self.release(name, token)
            raise
        return token, read

    async def _trim(
        self, name: str, token: Token, granted: Sequence[Granted], read: Sequence[Granted]
    ) -> None:
        """Release what a lease can't have for its size: all behind what was read of it."""
        rest = deque(granted)
        for each in read:
            # What was read of a range may have come in parts.
            if rest[0].last == each.last:
                rest.popleft()
            else:
                rest[0] = replace(rest[0], first=each.last + 1)
        release = [(each.topic, each.first, each.last) for each in rest]
        outcome = await self._queue.submit(
            Settle(name=name, token=token, release=release, trims=True)
        )
        if isinstance(outcome, Refusal):
            raise refusal(outcome)
        if not isinstance(outcome, Settled):
            raise TypeError(f"a settle has the outcome {type(outcome).__name__}")

    async def release(self, name: str, token: Token) -> None:
        """Release what a lease still has.

        Raises what `SubscriptionService.settle` raises.
        """
        outcome = await self._queue.submit(
            Settle(name=name, token=token, release_rest=True), late=True
        )
        if isinstance(outcome, Refusal):
            raise refusal(outcome)


def _extents(granted: Sequence[Granted]) -> tuple[tuple[str, int, int], ...]:
    extents: dict[str, tuple[int, int]] = {}
    for each in granted:
        first, last = extents.get(each.topic, (each.first, each.last))
        extents[each.topic] = min(first, each.first), max(last, each.last)
    return tuple((topic, first, last) for topic, (first, last) in extents.items())


def count(granted: Sequence[Granted]) -> int:
    """Count the events of ranges."""
    return sum(each.last - each.first + 1 for each in granted)
