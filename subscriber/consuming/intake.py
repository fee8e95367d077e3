"""The intake of a consumer: it fetches leases as they are wanted, and gives what may be begun."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from subscriber.calls.requests import CallFailed, Calls, Leased
from subscriber.consuming.attempts import Attempts
from subscriber.consuming.held_lease import HeldLease
from subscriber.consuming.lease_keeper import LeaseKeeper
from subscriber.consuming.pause_watch import PauseWatch
from subscriber.consuming.ready_queue import ReadyQueue
from subscriber.delivery import Delivery, Fate
from subscriber.errors import LeaseLost

_log = logging.getLogger("subscriber")
_Result = TypeVar("_Result")

_WAIT_MS = 20_000
_CATCHING_UP_WAIT_MS = 1000
"""What others settle meanwhile is noticed when a request for a lease is answered."""


class Intake:
    """Fetches leases, keeps them, and gives their deliveries, for one consumer.

    Args:
        calls: send the requests.
        name: of the subscription.
        consumer: the label of the consumer.
        attempts: when to try again.
        keeps_order: whether the subscription does.
        max_events: events of a lease at most.
        ack_within_s: how long an acknowledgement may wait for others, in seconds.
    """

    def __init__(
        self,
        calls: Calls,
        name: str,
        consumer: str,
        attempts: Attempts,
        *,
        keeps_order: bool,
        max_events: int,
        ack_within_s: float,
    ) -> None:
        self._calls = calls
        self._name = name
        self._consumer = consumer
        self._attempts = attempts
        self._keeps_order = keeps_order
        self._max_events = max_events
        self._queue = ReadyQueue(keeps_order=keeps_order)
        self._keeper = LeaseKeeper(
            calls,
            name,
            attempts,
            keeps_order=keeps_order,
            ack_within_s=ack_within_s,
            changed=self._look,
        )
        self._changed = asyncio.Event()
        self._told = asyncio.Event()
        self._hungry = asyncio.Event()
        self._is_waited_for = False
        self._is_stopped = False
        self._catches_up = False
        self._began_at = 0.0
        self._has_caught_up = False
        self._found_nothing = False
        self._pauses = PauseWatch(calls, name)
        self._lease_events = max_events
        self._wanted = 1
        self._failure: Exception | None = None
        self._is_failure_told = False
        self._waiting: asyncio.Future[Any] | None = None
        self._fetching = asyncio.create_task(self._guarded(self._fetch))
        self._keeping = asyncio.create_task(self._guarded(self._keeper.run))

    def failure(self) -> Exception | None:
        """Return why the subscription can't be consumed any more, to be raised; None: it can."""
        self._is_failure_told = self._failure is not None
        return self._failure

    def begin(self, most: int, concurrency: int, *, until_caught_up: bool) -> None:
        """Begin to give deliveries.

        Args:
            most: deliveries that are taken together, at most.
            concurrency: how many times so many may be handled at once.
            until_caught_up: end when nothing of the subscription is leased or waiting.
        """
        self._lease_events = max(self._max_events, most)
        self._wanted = most * concurrency
        self._catches_up = until_caught_up
        self._began_at = asyncio.get_running_loop().time()
        self._has_caught_up = self._found_nothing = False

    async def next(
        self, most: int, *, alone: bool = False, has_room: Callable[[], bool] = lambda: True
    ) -> tuple[HeldLease, list[Delivery]] | None:
        """Return deliveries that may be begun, waiting until there are any.

        Args:
            most: their greatest number.
            alone: give what comes again by itself.
            has_room: whether any may be begun just now; asked again after each call of `free`.

        Returns:
            Their lease, and the deliveries, which go to `free` in the end; None: there are no more.

        Raises:
            SubscriptionError: the subscription can't be consumed.
        """
        while True:
            self._changed.clear()
            if (failure := self.failure()) is not None:
                raise failure
            if self._is_stopped:
                return None
            if has_room() and (taken := self.take(most, alone=alone)):
                return taken
            if self._has_caught_up:
                return None
            self._is_waited_for = True
            self._see_hunger()
            try:
                await self._changed.wait()
            finally:
                self._is_waited_for = False

    def take(self, most: int, *, alone: bool = False) -> tuple[HeldLease, list[Delivery]] | None:
        """Return deliveries that may be begun, as `next` does, if there are any."""
        if self._failure is not None:
            return None
        taken = self._queue.take(most, alone=alone)
        if taken is not None:
            self._see_hunger()
        return taken

    def free(self, deliveries: Iterable[Delivery]) -> None:
        """Note that deliveries are not being handled any more."""
        self._queue.free(deliveries)
        self._changed.set()

    def stop(self) -> None:
        """Give no more, and release what was not begun."""
        self._is_stopped = True
        if self._waiting is not None:
            self._waiting.cancel()
        self._release_queue()
        for event in (self._hungry, self._changed, self._told):
            event.set()

    async def aclose(self, close_timeout_s: float) -> None:
        """Stop, and tell what is to be told, for a limited time; then give up what is left.

        Raises:
            SubscriptionError: what was to be told is refused.
        """
        self.stop()
        try:
            async with asyncio.timeout(close_timeout_s):
                # What a request brings that is under way is released, too. It is waited for
                # without being cancelled, which it might take for the end of its waiting.
                await asyncio.wait([self._fetching])
                if self._failure is None:
                    await self._keeper.flush()
        except TimeoutError:
            _log.warning(
                "nothing could be told within %g s: what is not acknowledged comes again when its"
                " lease runs out",
                close_timeout_s,
            )
        finally:
            for task in (self._fetching, self._keeping):
                task.cancel()
            try:
                await asyncio.wait([self._fetching, self._keeping])
            finally:
                self._keeper.lose_all()
        if self._failure is not None and not self._is_failure_told:
            raise self._failure

    def _look(self) -> None:
        """Have whoever waits look again."""
        self._changed.set()
        self._told.set()
        self._see_hunger()

    def _see_hunger(self) -> None:
        if self._is_hungry():
            self._hungry.set()

    def _is_hungry(self) -> bool:
        if self._is_stopped or self._has_caught_up or self._failure is not None:
            return False
        if self._keeper.open > self._lease_events:
            return False
        if self._keeps_order:
            # Before: what is asked for ahead of time would wait for what is handled now.
            return self._is_waited_for and not self._queue.startable()
        return self._queue.startable() < self._wanted

    def _release_queue(self) -> None:
        for lease, deliveries in self._queue.drain():
            lease.is_urgent = True
            lease.note(deliveries, Fate.RELEASE)

    async def _fetch(self) -> None:
        while not self._is_stopped:
            await self._hungry.wait()
            self._hungry.clear()
            if not self._is_hungry():
                continue
            try:
                await self._fetch_once()
            except CallFailed as failure:
                await self._until_stopped(self._attempts.wait(failure))
            self._changed.set()
            self._see_hunger()

    async def _fetch_once(self) -> None:
        one_at_a_time = self._keeper.one_at_a_time
        if not one_at_a_time.locked() and self._keeper.fullest() is not None:
            async with one_at_a_time:
                if await self._fetch_with_settle(self._keeper.fullest()):
                    return
        wait_ms = _WAIT_MS
        if self._catches_up:
            wait_ms = 0
            if self._found_nothing and self._keeper.is_empty:
                wait_ms = _CATCHING_UP_WAIT_MS
            elif self._found_nothing:
                # What is handled here may be all that there is.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CATCHING_UP_WAIT_MS / 1000):
                        await self._told.wait()
                self._told.clear()
        asked_at = asyncio.get_running_loop().time()
        with self._keeper.fetch_waiting():
            leased = await self._until_stopped(
                self._calls.lease(self._name, self._consumer, self._lease_events, wait_ms, None)
            )
        if leased is not None:
            self._take(leased, asked_at)
            if leased.lease is None and leased.lag_events:
                await self._pauses.look()

    async def _until_stopped(self, work: Coroutine[None, None, _Result]) -> _Result | None:
        """Wait for work, but no longer than until `stop`; return None if it was stopped."""
        if self._has_to_end():
            work.close()
            return None
        waiting = asyncio.ensure_future(work)
        self._waiting = waiting
        try:
            return await waiting
        except asyncio.CancelledError:
            if self._has_to_end() and waiting.cancelled():
                # Only the waiting has ended; what has come by then is taken.
                return None
            raise
        finally:
            self._waiting = None

    def _has_to_end(self) -> bool:
        return self._is_stopped

    async def _fetch_with_settle(self, lease: HeldLease | None) -> bool:
        """Fetch a lease that carries a settle; return whether nothing else is to be asked."""
        request = None if lease is None else lease.request()
        if lease is None or request is None:
            return True
        asked_at = asyncio.get_running_loop().time()
        try:
            async with self._keeper.attempt(lease):
                leased = await self._calls.lease(
                    self._name, self._consumer, self._lease_events, 0, request.settle
                )
        except LeaseLost:
            self._attempts.succeeded()
            lease.lose()
            return True
        if leased.settled is not None:
            lease.answered(leased.settled, asked_at, request)
        self._take(leased, asked_at)
        return leased.lease is not None or self._has_caught_up

    def _take(self, leased: Leased, asked_at: float) -> None:
        if self._failure is not None:
            # Nobody settles any more.
            return
        self._attempts.succeeded()
        self._found_nothing = leased.lease is None
        if leased.lease is not None:
            self._queue.put(self._keeper.hold(leased, asked_at))
            if self._is_stopped:
                self._release_queue()
        elif self._catches_up and not leased.lag_events and self._keeper.is_empty:
            # What was asked for before this began tells of what was there before.
            self._has_caught_up = asked_at >= self._began_at
        self._changed.set()

    async def _guarded(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do work in the background, and hand on what ends it."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - it is raised where deliveries are waited for
            self._failure = error
            self._keeper.lose_all()
            self._changed.set()
