"""What becomes of a consumer: it dies at a point of its plan, stops at a gate, or fails."""

import asyncio
import os
import signal
import socket
import threading
from typing import NoReturn

import msgspec

from subscriber import Event, HandlerFailed
from subscriber.calls.http import HttpCalls
from subscriber.calls.requests import Leased, Settle, Settled
from support.consumer_campaign_plan import Plan, Point


class Visited(msgspec.Struct, frozen=True):
    """A consumer's visit to a point, as it tells the gate.

    Args:
        number: of the consumer.
        point: where it is.
        offsets: of the events that it has there.
        deliveries: of the first of them.
    """

    number: int
    point: Point
    offsets: list[int]
    deliveries: int


class Fate:
    """The fate of a consumer, in its own process.

    Args:
        plan: of the consumer.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._left = plan.countdown
        self._lock = threading.Lock()

    async def at(self, point: Point, offsets: list[int] | None = None, deliveries: int = 0) -> None:
        """Be at a point: die there, or stop until the gate lets it go on."""
        self.pass_by(point)
        if point in self._plan.stops:
            visited = Visited(self._plan.number, point, offsets or [], deliveries)
            reader, writer = await asyncio.open_connection("127.0.0.1", self._plan.gate)
            try:
                writer.write(msgspec.json.encode(visited) + b"\n")
                await reader.readline()
            finally:
                writer.close()

    def at_blocking(
        self, point: Point, offsets: list[int] | None = None, deliveries: int = 0
    ) -> None:
        """The same in a thread."""
        self.pass_by(point)
        if point in self._plan.stops:
            visited = Visited(self._plan.number, point, offsets or [], deliveries)
            with socket.create_connection(("127.0.0.1", self._plan.gate or 0)) as gate:
                gate.sendall(msgspec.json.encode(visited) + b"\n")
                gate.recv(1)

    def pass_by(self, point: Point) -> None:
        """Be at a point, where nothing may be waited for."""
        if self._is_here(point):
            die()

    def soon(self, point: Point) -> None:
        """Begin what is under way at a point, in the event loop: die soon."""
        if self._is_here(point):
            loop = asyncio.get_running_loop()
            if self._plan.delay_s:
                loop.call_later(self._plan.delay_s, die)
            else:
                loop.call_soon(die)

    def soon_blocking(self, point: Point) -> None:
        """The same in a thread."""
        if self._is_here(point):
            threading.Timer(self._plan.delay_s, die).start()

    def _is_here(self, point: Point) -> bool:
        if point is not self._plan.point:
            return False
        with self._lock:
            self._left -= 1
            return self._left == 0


def die() -> NoReturn:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it lives")


class Poison:
    """Knows whose handling fails: that of some events for a while, of one always.

    Args:
        plan: of the consumer.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._left = plan.failures
        self._lock = threading.Lock()
        self.is_halving = False
        """Whether something has failed, so that batches are handled in halves."""

    def check(self, event: Event) -> None:
        """Fail if the event does.

        Raises:
            HandlerFailed: it does.
        """
        with self._lock:
            fails_now = self._left > 0 and event.offset % self._plan.fails_every == 0
            self._left -= fails_now
        if fails_now or (self._plan.poison and event.event_id == self._plan.poison):
            self.is_halving = True
            raise HandlerFailed(f"{event.topic}/{event.offset} is poison")


class FatedCalls(HttpCalls):
    """Requests over HTTP of a consumer that may die around them.

    Args:
        url: of the aggregator.
        fate: of the consumer.
    """

    def __init__(self, url: str, fate: Fate) -> None:
        super().__init__(url)
        self._fate = fate

    async def lease(
        self, name: str, consumer: str, max_events: int, wait_ms: int, settle: Settle | None
    ) -> Leased:
        """Lease events."""
        self._fate.soon(Point.LEASING)
        if settle is not None:
            self._fate.soon(Point.SETTLING)
        leased = await super().lease(name, consumer, max_events, wait_ms, settle)
        if leased.lease is not None:
            self._fate.pass_by(Point.LEASED)
        if leased.settled is not None:
            self._fate.pass_by(Point.SETTLED)
        return leased

    async def settle(self, name: str, settle: Settle) -> Settled:
        """Settle events, or extend a lease."""
        extends_alone = not (settle.ack or settle.retry or settle.dead or settle.release)
        self._fate.soon(Point.EXTENDING if extends_alone else Point.SETTLING)
        settled = await super().settle(name, settle)
        if not extends_alone:
            self._fate.pass_by(Point.SETTLED)
        return settled
