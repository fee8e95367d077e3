"""Events that wait to be sent: a bounded queue that gives them out as batches."""

import asyncio
import math
from collections import deque
from dataclasses import dataclass

from publisher.events import EncodedEvent
from publisher.response import Verdict


@dataclass(frozen=True, slots=True)
class Limits:
    """How events are put together, and how many may wait. Each is at least 1.

    max_batch_events, max_batch_bytes: of one request; one event that is larger goes alone.
    linger_ms: how long, at most, an event waits for others to share its request, from 0.
    max_pending_events, max_pending_bytes: accepted and not answered for yet. When there is no
    room, submitting waits. One event that is larger than all the room is taken when it is empty.
    """

    max_batch_events: int = 500
    max_batch_bytes: int = 1024 * 1024  # far below the 16 MiB that an aggregator takes
    linger_ms: float = 5.0
    max_pending_events: int = 10_000
    max_pending_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        """Raise ValueError, one sentence, for a limit that could never let an event through."""
        for name in ("max_batch_events", "max_batch_bytes", "max_pending_events",
                     "max_pending_bytes"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if not 0 <= self.linger_ms < math.inf:
            raise ValueError(f"linger_ms must be finite and 0 or more, not {self.linger_ms!r}")


@dataclass(slots=True, eq=False)
class Pending:
    """An event that was accepted, when (by the event loop's clock), and who waits for it.

    number: its place among all that were accepted, from 1.
    """

    event: EncodedEvent
    accepted_at: float
    number: int
    verdict: asyncio.Future[Verdict]


class Buffer:
    """First in, first out: events wait for their batch, and their senders for room.

    It belongs to one event loop. Events count against the limits until `give_back`.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queue: deque[Pending] = deque()
        self._queue_bytes = 0
        self._pending_events = 0
        self._pending_bytes = 0
        # Who waits for room; None is the answer when there never will be any.
        self._line: deque[tuple[EncodedEvent, asyncio.Future[Pending | None]]] = deque()
        self._accepted = 0
        self._flush_through = 0
        self._given_out: set[int] = set()
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        self._changed = asyncio.Event()

    async def put(self, event: EncodedEvent) -> Pending | None:
        """Accept an event, waiting while there is no room; None if it was turned away.

        Whoever came first is first, so events are accepted in the order of the calls and a large
        one is not overtaken for ever. Whoever is cancelled leaves the line; an event that was
        accepted in the same moment stays.
        """
        if not self._line and self._fits(event):
            accepted = self._accept(event)
            if len(self._queue) % self._limits.max_batch_events == 0:
                # A producer that never has to wait would keep everybody else from running.
                await asyncio.sleep(0)
            return accepted
        turn: asyncio.Future[Pending | None] = asyncio.get_running_loop().create_future()
        place = (event, turn)
        self._line.append(place)
        self._changed.set()
        try:
            return await turn
        except asyncio.CancelledError:
            if place in self._line:
                self._line.remove(place)
                self._fill()
            raise

    def turn_away(self) -> None:
        """Accept nobody who waits for room."""
        while self._line:
            _, turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)

    async def flush(self) -> None:
        """Let no event that was accepted so far wait for others; return once all are given back."""
        self._flush_through = self._accepted
        self._changed.set()
        if self._oldest() <= self._accepted:
            done = asyncio.get_running_loop().create_future()
            self._flushes.append((self._accepted, done))
            await done

    async def next_batch(self) -> list[Pending]:
        """Wait until a batch is due, and take it: the oldest events, as many as the limits allow.

        It is due when it is full, when its oldest event has waited `linger_ms`, or was flushed.
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
        self._given_out.add(batch[0].number)
        return batch

    def take_all(self) -> list[Pending]:
        """Take every event that is still queued."""
        batch = list(self._queue)
        self._queue.clear()
        self._queue_bytes = 0
        return batch

    def give_back(self, batch: list[Pending]) -> None:
        """Free the room of events that were answered for."""
        if not batch:
            return
        self._given_out.discard(batch[0].number)
        self._pending_events -= len(batch)
        self._pending_bytes -= sum(len(pending.event.line) for pending in batch)
        oldest = self._oldest()
        for through, done in self._flushes:
            if through < oldest and not done.done():
                done.set_result(None)
        self._flushes = [flush for flush in self._flushes if not flush[1].done()]
        self._fill()

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

    def _fill(self) -> None:
        """Accept from the line what there is room for."""
        while self._line:
            event, turn = self._line[0]
            if not turn.done():
                if not self._fits(event):
                    return
                turn.set_result(self._accept(event))
            self._line.popleft()

    def _fits(self, event: EncodedEvent) -> bool:
        return self._pending_events == 0 or (
            self._pending_events < self._limits.max_pending_events
            and self._pending_bytes + len(event.line) <= self._limits.max_pending_bytes
        )

    def _is_full(self) -> bool:
        return (
            len(self._queue) >= self._limits.max_batch_events
            or self._queue_bytes >= self._limits.max_batch_bytes
            # Nobody can add to it before it is sent.
            or bool(self._line)
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
        """The number of the oldest event that is not given back, infinite if there is none."""
        queued = self._queue[0].number if self._queue else math.inf
        return min(queued, *self._given_out, math.inf)
