"""The buffer against a model of it: any calls in any order, on a clock of the test's own."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publisher.batching import Buffer, Limits, Pending
from publisher.events import EncodedEvent

Step = tuple[str, int]


def event(size_bytes: int) -> EncodedEvent:
    """An event whose line has that size."""
    return EncodedEvent("orders", "e", b"x" * size_bytes)


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes when the test says so."""

    now = 1000.0

    def time(self) -> float:
        return self.now


def on_still_loop(main: Callable[[StillLoop], Coroutine[Any, Any, None]]) -> None:
    loop = StillLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(loop), None))
    finally:
        loop.close()


async def settle() -> None:
    """Let everything run that can run without time passing."""
    for _ in range(12):
        await asyncio.sleep(0)


class Model:
    """A buffer under test, and what the limits and the calls so far say about it.

    It has one taker, which takes the next batch while fewer than `in_flight` are out.
    """

    def __init__(self, loop: StillLoop, limits: Limits, in_flight: int) -> None:
        self.loop = loop
        self.limits = limits
        self.buffer = Buffer(limits)
        self.calls: list[tuple[int, asyncio.Task[Pending | None]]] = []
        """Every put, in order, that was not cancelled while it waited: its size and its task."""
        self.accepted = 0
        self.taken = 0
        self.out: list[list[Pending]] = []
        self.answered: set[int] = set()
        self.flushes: list[tuple[int, asyncio.Task[None]]] = []
        self.flushed = 0
        self.slots = asyncio.Semaphore(in_flight)
        self.taking = False
        self.unchecked: list[list[Pending]] = []
        self.taker = loop.create_task(self._take())

    async def _take(self) -> None:
        while True:
            await self.slots.acquire()
            self.taking = True
            batch = await self.buffer.next_batch()
            self.taking = False
            self.unchecked.append(batch)
            self.out.append(batch)

    async def step(self, step: Step) -> None:
        """Do one thing and check everything."""
        what, number = step
        waiting = [call for call in self.calls if not call[1].done()]
        if what == "put":
            self.calls.append((number, self.loop.create_task(self.buffer.put(event(number)))))
        elif what == "cancel" and waiting:
            call = waiting[number % len(waiting)]
            call[1].cancel()
            self.calls.remove(call)
        elif what == "answer" and self.out:
            batch = self.out.pop(number % len(self.out))
            self.answered |= {pending.number for pending in batch}
            self.buffer.release(batch)
            self.slots.release()
        elif what == "flush":
            self.flushed = self.accepted
            self.flushes.append((self.accepted, self.loop.create_task(self.buffer.flush())))
        elif what == "leave flush" and self.flushes:
            self.flushes.pop(number % len(self.flushes))[1].cancel()
        elif what == "time":
            self.loop.now += number / 1000
        await settle()
        self._check(had_line=bool(waiting))

    def size(self, number: int) -> int:
        return self.calls[number - 1][0]

    @property
    def pending(self) -> list[int]:
        return [number for number in range(1, self.accepted + 1) if number not in self.answered]

    def fits(self, size_bytes: int) -> bool:
        pending = self.pending
        held = sum(map(self.size, pending))
        return not pending or (
            len(pending) < self.limits.max_pending_events
            and held + size_bytes <= self.limits.max_pending_bytes
        )

    def _check(self, *, had_line: bool) -> None:
        before = self.accepted
        done = [call[1].done() for call in self.calls]
        self.accepted = done.count(True)
        # Accepted in the order of the calls, each once.
        assert done == [True] * self.accepted + [False] * (len(done) - self.accepted)
        for number, (size_bytes, task) in enumerate(self.calls[: self.accepted], 1):
            accepted = task.result()
            assert accepted is not None
            assert accepted.number == number
            assert len(accepted.event.line) == size_bytes
        # The limits hold, and nobody waits while there is room.
        pending = self.pending
        held = sum(map(self.size, pending))
        assert len(pending) <= max(1, self.limits.max_pending_events)
        assert len(pending) <= 1 or held <= self.limits.max_pending_bytes
        if self.accepted < len(self.calls):
            assert not self.fits(self.calls[self.accepted][0])
        # What was taken was due, and what is due was taken if there was somebody to take it.
        for batch in self.unchecked:
            assert had_line or self._due(batch[0].number, self.accepted)
            self._check_batch(batch, before)
        self.unchecked.clear()
        if self.taking and self.taken < self.accepted:
            assert not self._due(self.taken + 1, self.accepted)
        # A flush is over when what was accepted before it is answered for, and not before.
        for through, task in self.flushes:
            assert task.done() is all(number > through for number in pending)

    def _due(self, first: int, last: int) -> bool:
        queued = range(first, last + 1)
        accepted = self.calls[first - 1][1].result()
        assert accepted is not None
        return (
            len(queued) >= self.limits.max_batch_events
            or sum(self.size(number) + 1 for number in queued) >= self.limits.max_batch_bytes
            or last < len(self.calls)
            or first <= self.flushed
            or self.loop.now >= accepted.accepted_at + self.limits.linger_ms / 1000
        )

    def _check_batch(self, batch: list[Pending], accepted: int) -> None:
        first, last = batch[0].number, batch[-1].number
        assert [pending.number for pending in batch] == list(range(first, last + 1))
        assert first == self.taken + 1
        self.taken = last
        assert len(batch) <= self.limits.max_batch_events
        body = len(b"\n".join(pending.event.line for pending in batch))
        assert len(batch) == 1 or body <= self.limits.max_batch_bytes
        # As much as the limits allow, of what was certainly there.
        if last < accepted and len(batch) < self.limits.max_batch_events:
            assert body + 1 + self.size(last + 1) + 1 > self.limits.max_batch_bytes

    async def end(self) -> None:
        """Answer everything; whoever waits must get through."""
        while self.accepted < len(self.calls) or self.pending:
            before = len(self.pending), self.accepted
            await self.step(("flush", 0))
            await self.step(("answer", 0))
            assert (len(self.pending), self.accepted) != before, "it stands still"
        self.taker.cancel()
        await asyncio.gather(self.taker, return_exceptions=True)


LIMITS = st.builds(
    Limits,
    max_batch_events=st.integers(1, 5),
    max_batch_bytes=st.sampled_from([1, 20, 50, 1000]),
    linger_ms=st.sampled_from([0, 5, 1000]),
    max_pending_events=st.integers(1, 12),
    max_pending_bytes=st.sampled_from([1, 30, 100, 1000]),
)
OFTEN = ["put"] * 5 + ["time"] * 3 + ["answer"] * 3 + ["flush", "cancel", "leave flush"]
STEPS = st.lists(
    st.tuples(st.sampled_from(OFTEN), st.integers(1, 9) | st.sampled_from([4, 60])),
    min_size=10,
    max_size=60,
)


@settings(max_examples=500)
@given(LIMITS, st.integers(1, 3), STEPS)
def test_buffer_matches_its_model_in_any_order_of_calls(
    limits: Limits, in_flight: int, steps: list[Step]
) -> None:
    async def main(loop: StillLoop) -> None:
        model = Model(loop, limits, in_flight)
        for step in steps:
            await model.step(step)
        await model.end()

    on_still_loop(main)


def test_put_cancelled_as_room_comes_admits_the_next_waiter() -> None:
    async def main(loop: StillLoop) -> None:
        buffer = Buffer(Limits(max_pending_events=1, linger_ms=0))
        await buffer.put(event(1))
        waiting = [loop.create_task(buffer.put(event(size))) for size in (2, 3, 4)]
        await settle()
        first = await buffer.next_batch()
        # Cancelled just before there is room: the next one gets it.
        waiting[0].cancel()
        buffer.release(first)
        # Cancelled just after it got room: the event stays accepted, and is sent.
        waiting[1].cancel()
        await settle()
        second = await buffer.next_batch()
        assert [len(pending.event.line) for pending in second] == [3]
        buffer.release(second)
        await settle()
        assert [task.cancelled() for task in waiting] == [True, True, False]
        third = await buffer.next_batch()
        assert [len(pending.event.line) for pending in third] == [4]
        buffer.release(third)
        await asyncio.wait_for(buffer.flush(), None)

    on_still_loop(main)


def test_reject_waiters_wakes_every_waiter_with_none() -> None:
    async def main(loop: StillLoop) -> None:
        buffer = Buffer(Limits(max_pending_events=1))
        await buffer.put(event(1))
        waiting = [loop.create_task(buffer.put(event(1))) for _ in range(3)]
        await settle()
        waiting[1].cancel()
        buffer.reject_waiters()
        await settle()
        assert waiting[0].result() is None
        assert waiting[1].cancelled()
        assert waiting[2].result() is None
        buffer.release(buffer.drain())
        assert await buffer.put(event(1)) is not None

    on_still_loop(main)


def test_put_yields_to_the_event_loop() -> None:
    async def main(loop: StillLoop) -> None:
        buffer = Buffer(Limits(max_batch_events=10))
        ran: list[int] = []
        for number in range(1, 101):
            loop.call_soon(ran.append, number)
            await buffer.put(event(1))
        assert len(ran) == 100

    on_still_loop(main)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"max_batch_events": 0}, "max_batch_events must be at least 1, not 0"),
        ({"max_batch_bytes": -1}, "max_batch_bytes must be at least 1, not -1"),
        ({"max_pending_events": 0}, "max_pending_events must be at least 1, not 0"),
        ({"max_pending_bytes": 0}, "max_pending_bytes must be at least 1, not 0"),
        ({"linger_ms": -0.1}, "linger_ms must be finite and 0 or more, not -0.1"),
        ({"linger_ms": math.inf}, "linger_ms must be finite and 0 or more, not inf"),
        ({"linger_ms": math.nan}, "linger_ms must be finite and 0 or more, not nan"),
    ],
)
def test_limits_out_of_range_are_refused(limits: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"):
        Limits(**limits)
