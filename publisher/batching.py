"""A bounded queue of events that wait to be sent, which forms batches of them."""

import asyncio
import math
from collections import deque
from dataclasses import dataclass

from publisher.events import EncodedEvent
from publisher.response import Verdict

_COUNTED_LIMITS = ("max_batch_events", "max_batch_bytes", "max_pending_events", "max_pending_bytes")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits the size of a batch and the number of pending events.

    A pending event is accepted and has no outcome yet. While there is no room for another,
    submitting waits. An event above `max_batch_bytes` is sent in a request of its own. An event
    above `max_pending_bytes` is accepted when nothing else is pending.

    Args:
        max_batch_events: events in one request, at least 1.
        max_batch_bytes: bytes in one request, at least 1.
        linger_ms: longest wait of an event for others to share its request, in milliseconds, from
            0.
        max_pending_events: pending events, at least 1.
        max_pending_bytes: bytes of pending events, encoded, at least 1.

    Raises:
        ValueError: a limit that could never let an event through; one sentence.
    """

    max_batch_events: int = 500
    max_batch_bytes: int = 1024 * 1024  # far below the 16 MiB that an aggregator takes
    linger_ms: float = 5.0
    max_pending_events: int = 10_000
    max_pending_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        """Check the limits."""
        for name in _COUNTED_LIMITS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if not 0 <= self.linger_ms < math.inf:
            raise ValueError(f"linger_ms must be finite and 0 or more, not {self.linger_ms!r}")


@dataclass(slots=True, eq=False)
class Pending:
    """A pending event: accepted, without an outcome yet.

    Args:
        event: the event as it is sent.
        accepted_at: the time at which it was accepted, in seconds by the event loop's clock.
        number: its place among all events that were accepted, from 1.
        verdict: the future of its outcome.
    """

    event: EncodedEvent
    accepted_at: float
    number: int
    verdict: asyncio.Future[Verdict]


class Buffer:
    """Queues events for their batches, and callers for room, both first in, first out.

    It belongs to one event loop. Events count against the limits until `release`.

    Args:
        limits: the limits of batches and of pending events.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queue: deque[Pending] = deque()
        self._queue_bytes = 0
        self._pending_events = 0
        self._pending_bytes = 0
        # Callers that wait for room; None is the result when there never will be any.
        self._waiters: deque[tuple[EncodedEvent, asyncio.Future[Pending | None]]] = deque()
        self._accepted = 0
        self._flush_through = 0
        self._in_flight: set[int] = set()
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        self._changed = asyncio.Event()

    async def put(self, event: EncodedEvent) -> Pending | None:
        """Accept an event, waiting while there is no room.

        Events are accepted in the order of the calls, so that a large one is not overtaken for
        ever. A cancelled call leaves the queue of waiters; if its event was accepted in the same
        moment, that event stays.

        Args:
            event: the event.

        Returns:
            The pending event, or None after `reject_waiters`.
        """
        if not self._waiters and self._fits(event):
            accepted = self._accept(event)
            if len(self._queue) % self._limits.max_batch_events == 0:
                # A producer that never has to wait would keep everybody else from running.
                await asyncio.sleep(0)
            return accepted
        admitted: asyncio.Future[Pending | None] = asyncio.get_running_loop().create_future()
        waiter = (event, admitted)
        self._waiters.append(waiter)
        self._changed.set()
        try:
            return await admitted
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._admit_waiters()
            raise

    def reject_waiters(self) -> None:
        """Wake every caller that waits for room, without accepting its event."""
        while self._waiters:
            _, admitted = self._waiters.popleft()
            if not admitted.done():
                admitted.set_result(None)

    async def flush(self) -> None:
        """Send what was accepted so far without lingering, and wait until it is released."""
        self._flush_through = self._accepted
        self._changed.set()
        if self._oldest() <= self._accepted:
            done = asyncio.get_running_loop().create_future()
            self._flushes.append((self._accepted, done))
            await done

    async def next_batch(self) -> list[Pending]:
        """Wait until a batch is due, and remove it from the queue.

        A batch is due when it is full, when its oldest event has waited `linger_ms`, or when that
        was flushed.

        Returns:
            The oldest events, as many as the limits allow, at least one.
        """
        while (wait_s := self._due_in_s()) != 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue
        batch: list[Pending] = []
        size_bytes = 0
        while self._queue and len(batch) < self._limits.max_batch_events:
            next_bytes = len(self._queue[0].event.line) + 1
            if batch and size_bytes + next_bytes > self._limits.max_batch_bytes:
                break
            size_bytes += next_bytes
            batch.append(self._queue.popleft())
        self._queue_bytes -= size_bytes
        self._in_flight.add(batch[0].number)
        return batch

    def drain(self) -> list[Pending]:
        """Remove and return every event that is still queued."""
        batch = list(self._queue)
        self._queue.clear()
        self._queue_bytes = 0
        return batch

    def release(self, batch: list[Pending]) -> None:
        """Free the room of events that have their outcomes.

        Args:
            batch: the events of `next_batch` or `drain`.
        """
        if not batch:
            return
        self._in_flight.discard(batch[0].number)
        self._pending_events -= len(batch)
        self._pending_bytes -= sum(len(pending.event.line) for pending in batch)
        oldest = self._oldest()
        for through, done in self._flushes:
            if through < oldest and not done.done():
                done.set_result(None)
        self._flushes = [flush for flush in self._flushes if not flush[1].done()]
        self._admit_waiters()

    def _accept(self, event: EncodedEvent) -> Pending:
        self._pending_events += 1
        self._pending_bytes += len(event.line)
        self._accepted += 1
        loop = asyncio.get_running_loop()
        pending = Pending(event, loop.time(), self._accepted, loop.create_future())
        self._queue.append(pending)
        self._queue_bytes += len(event.line) + 1
        if len(self._queue) == 1 or self._is_full():
            self._changed.set()
        return pending

    def _admit_waiters(self) -> None:
        """Accept the events of those who wait, as far as there is room."""
        while self._waiters:
            event, admitted = self._waiters[0]
            if not admitted.done():
                if not self._fits(event):
                    return
                admitted.set_result(self._accept(event))
            self._waiters.popleft()

    def _fits(self, event: EncodedEvent) -> bool:
        return self._pending_events == 0 or (
            self._pending_events < self._limits.max_pending_events
            and self._pending_bytes + len(event.line) <= self._limits.max_pending_bytes
        )

    def _is_full(self) -> bool:
        return (
            len(self._queue) >= self._limits.max_batch_events
            or self._queue_bytes >= self._limits.max_batch_bytes
            # Nothing can be added to it before it is sent.
            or bool(self._waiters)
        )

    def _due_in_s(self) -> float | None:
        if not self._queue:
            return None
        oldest = self._queue[0]
        if self._is_full() or oldest.number <= self._flush_through:
            return 0
        due_at = oldest.accepted_at + self._limits.linger_ms / 1000
        return max(0.0, due_at - asyncio.get_running_loop().time())

    def _oldest(self) -> float:
        """Return the number of the oldest pending event, infinite if there is none."""
        queued = self._queue[0].number if self._queue else math.inf
        return min(queued, *self._in_flight, math.inf)
