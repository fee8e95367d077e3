"""The queue of deliveries that were not begun, which keeps the order of topics."""

from collections import deque
from collections.abc import Iterable

from subscriber.consuming.held_lease import HeldLease
from subscriber.delivery import Delivery, Fate

_ANY_TOPIC = ""


class ReadyQueue:
    """Queues deliveries, and gives those that may be begun.

    Args:
        keeps_order: whether the deliveries of a topic are begun one after the other.
    """

    def __init__(self, *, keeps_order: bool) -> None:
        self._keeps_order = keeps_order
        self._leases: dict[HeldLease, dict[str, deque[Delivery]]] = {}
        """By lease, and by topic, what may be left; of what is taken nothing is kept."""
        self._busy: set[str] = set()

    def put(self, lease: HeldLease) -> None:
        """Queue the deliveries of a lease."""
        topics: dict[str, deque[Delivery]] = {}
        for delivery in lease.deliveries:
            topics.setdefault(delivery.topic if self._keeps_order else _ANY_TOPIC, deque()).append(
                delivery
            )
        self._leases[lease] = topics

    def take(self, most: int, *, alone: bool = False) -> tuple[HeldLease, list[Delivery]] | None:
        """Take deliveries of one lease that may be begun, and note their topics as busy.

        Args:
            most: their greatest number.
            alone: give what comes again by itself.

        Returns:
            The lease and the deliveries, those of a topic in the order of their offsets; None:
            nothing may be begun.
        """
        for lease, topics in list(self._leases.items()):
            taken = self._take(topics, most, alone=alone)
            if not topics:
                del self._leases[lease]
            if taken:
                if self._keeps_order:
                    self._busy.update(each.topic for each in taken)
                return lease, taken
        return None

    def startable(self) -> int:
        """Return how many deliveries, or topics if order is kept, may be begun."""
        return sum(
            1 if self._keeps_order else len(queue)
            for topics in self._leases.values()
            for topic, queue in topics.items()
            if topic not in self._busy
        )

    def free(self, deliveries: Iterable[Delivery]) -> None:
        """Note that deliveries that were taken are not being handled any more."""
        if self._keeps_order:
            self._busy.difference_update(each.topic for each in deliveries)

    def drain(self) -> list[tuple[HeldLease, list[Delivery]]]:
        """Take everything that was not begun, by lease."""
        drained = [
            (lease, [each for queue in topics.values() for each in queue])
            for lease, topics in self._leases.items()
        ]
        self._leases.clear()
        return drained

    def _take(
        self, topics: dict[str, deque[Delivery]], most: int, *, alone: bool
    ) -> list[Delivery]:
        taken: list[Delivery] = []
        for topic, queue in list(topics.items()):
            if topic in self._busy:
                continue
            while queue and len(taken) < most:
                delivery = queue[0]
                if alone and taken and (delivery.delivery > 1 or taken[-1].delivery > 1):
                    return taken
                queue.popleft()
                # What was handed back or lost meanwhile is not begun.
                if delivery.fate is Fate.OPEN:
                    taken.append(delivery)
            if not queue:
                del topics[topic]
            if len(taken) == most:
                break
        return taken
