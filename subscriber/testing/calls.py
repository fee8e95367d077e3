"""The requests of a consumer to a double."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from storage.subscriptions.model import Order
from subscriber.calls.requests import CallFailed, Leased, Settings, Settle, Settled
from subscriber.testing.faults import Fault
from subscriber.testing.parts import Parts
from subscriber.testing.rules import name_rule_broken, refuse, whole_number

_MAX_EVENTS = 10_000
_MAX_WAIT_MS = 60_000
_REAL_SHARE = 0.05
"""A wait in which nothing comes lasts so much of its time: a test has no time, and no network."""

_Answer = TypeVar("_Answer")


class InMemoryCalls:
    """Does the requests of a consumer in memory; see `Calls`.

    Args:
        parts: of the double.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._is_closed = False

    async def create(self, name: str, settings: Mapping[str, Any]) -> None:
        """Make a subscription, unless it is there with the same settings."""
        await self._call(lambda: self._parts.subscriptions.create(name, settings))

    async def settings(self, name: str) -> Settings:
        """Return the settings of a subscription."""
        found = await self._call(lambda: self._parts.subscriptions.there(name))
        return Settings(found.settings.order is Order.TOPIC, found.settings.lease_ms, found.reason)

    async def settle(self, name: str, settle: Settle) -> Settled:
        """Settle events of a lease."""
        return await self._call(lambda: self._parts.leases.settle(name, settle))

    async def lease(
        self, name: str, consumer: str, max_events: int, wait_ms: int, settle: Settle | None
    ) -> Leased:
        """Lease events, behind what is settled in the same request.

        While it waits and nobody has a lease, the clock moves on by itself to when something comes
        again.
        """
        if broken := name_rule_broken(consumer):
            refuse(f"consumer {broken}")
        whole_number("max_events", max_events, 1, _MAX_EVENTS)
        whole_number("wait_ms", wait_ms, 0, _MAX_WAIT_MS)
        fault = await self._begin()
        wait_s = wait_ms / 1000 * _REAL_SHARE
        answer = await self._wait(name, consumer, max_events, wait_s, settle)
        if fault is not None:
            with self._parts.lock:
                if answer.lease is not None:
                    self._parts.leases.give_back(name, answer.lease)
                    self._parts.wakeups.wake()
            raise CallFailed(fault.reason)
        return answer

    async def aclose(self) -> None:
        """Take no more calls."""
        self._is_closed = True

    async def _begin(self) -> Fault | None:
        """Begin a call; return its fault, if it is to fail once it is done."""
        if self._is_closed:
            raise RuntimeError("these calls are closed")
        # As one over a network, no call is done before others had their turn.
        await asyncio.sleep(0)
        with self._parts.lock:
            fault = self._parts.faults.next()
        if fault is not None and not fault.is_done:
            raise CallFailed(fault.reason)
        return fault

    async def _call(self, do: Callable[[], _Answer]) -> _Answer:
        fault = await self._begin()
        with self._parts.lock:
            answer = do()
            self._parts.wakeups.wake()
        if fault is not None:
            raise CallFailed(fault.reason)
        return answer

    async def _wait(
        self, name: str, consumer: str, max_events: int, wait_s: float, settle: Settle | None
    ) -> Leased:
        """Lease what is there, or what comes within so many seconds of real time."""
        parts, settled = self._parts, None
        until_s = asyncio.get_running_loop().time() + wait_s
        while True:
            with parts.lock:
                taken = parts.leases.take(name, consumer, max_events, settle)
                if settle is not None:
                    # It is done once, however long the lease is waited for.
                    settle, settled = None, taken.answer.settled
                    parts.wakeups.wake()
                left_s = until_s - asyncio.get_running_loop().time()
                if taken.answer.lease is not None or left_s <= 0:
                    return taken.answer._replace(settled=settled)
                goes_on = taken.goes_on or self._skip_to(taken.due_us)
                waiting = None if goes_on else parts.wakeups.add()
            if waiting is None:
                await asyncio.sleep(0)
            else:
                await self._sleep(waiting, left_s)

    async def _sleep(self, waiting: "asyncio.Future[None]", limit_s: float) -> None:
        try:
            await asyncio.wait([waiting], timeout=limit_s)
        finally:
            with self._parts.lock:
                self._parts.wakeups.remove(waiting)

    def _skip_to(self, time_us: int | None) -> bool:
        """Move the clock on to a time, unless somebody has a lease; return whether it was moved."""
        if time_us is None or self._parts.database.holds_leases():
            return False
        self._parts.database.now_us = time_us
        self._parts.wakeups.wake()
        return True
