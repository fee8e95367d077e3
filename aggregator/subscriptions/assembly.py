"""The parts of subscriptions, put together."""

from collections.abc import Callable
from dataclasses import dataclass

from aggregator.live.log_chunks import LogChunks
from aggregator.live.waits import Waits
from aggregator.reading.read_memory import ReadMemory
from aggregator.subscriptions.command_queue import CommandQueue
from aggregator.subscriptions.counters import SubscriptionCounters
from aggregator.subscriptions.delivery_reads import DeliveryReads
from aggregator.subscriptions.filter_windows import FilterWindows
from aggregator.subscriptions.known import KnownSubscriptions
from aggregator.subscriptions.lease_reads import LeaseReads
from aggregator.subscriptions.leases import Leases
from aggregator.subscriptions.notices import Notices, SubscriptionPoller
from aggregator.subscriptions.service import Subscriptions
from aggregator.subscriptions.upkeep import Upkeep
from storage.errors import StorageError
from storage.protocols import EventStore


@dataclass(frozen=True, slots=True)
class SubscriptionParts:
    """What the composition root has to do with.

    Attributes:
        service: what the routes call.
        queue: is drained and closed at the end.
        notices: are told of flushes.
        poller, upkeep: are closed at the end.
        room: the memory of leases.
        counters: what was done.
    """

    service: Subscriptions
    queue: CommandQueue
    notices: Notices
    poller: SubscriptionPoller
    upkeep: Upkeep
    room: ReadMemory
    counters: SubscriptionCounters

    async def aclose(self) -> None:
        """Do what is late, and stop what runs by itself."""
        await self.queue.aclose()
        await self.poller.aclose()
        await self.upkeep.aclose()


def assemble(
    *,
    store: EventStore,
    chunks: LogChunks,
    waits: Waits,
    memory: ReadMemory,
    max_lease_bytes: int,
    suspect: Callable[[StorageError], object],
) -> SubscriptionParts:
    """Make the parts of subscriptions.

    Args:
        store: has the subscriptions.
        chunks: events are read through them.
        waits: the room for those that wait.
        memory: the memory of reads.
        max_lease_bytes: bytes of leases that are read, or on their way to consumers.
        suspect: called with the error of commands after which the store may be out of reach.
    """
    counters = SubscriptionCounters()
    known = KnownSubscriptions()
    notices = Notices(known, counters)
    upkeep = Upkeep(store, counters)
    queue = CommandQueue(store, suspect=suspect, observe=notices.done, counters=counters)
    room = ReadMemory(max_lease_bytes)
    reads = LeaseReads(queue, DeliveryReads(chunks), counters)
    leases = Leases(
        store,
        queue,
        known,
        reads,
        FilterWindows(store),
        waits,
        room,
        counters,
    )
    return SubscriptionParts(
        service=Subscriptions(store, queue, leases, reads, memory, upkeep, counters),
        queue=queue,
        notices=notices,
        poller=SubscriptionPoller(store, known),
        upkeep=upkeep,
        room=room,
        counters=counters,
    )
