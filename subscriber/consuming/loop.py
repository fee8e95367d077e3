"""The deliveries of a loop: acknowledged when the next are asked for."""

import asyncio
from typing import Protocol, Self

from subscriber.consuming.handling import acknowledge, error_text
from subscriber.consuming.held_lease import HeldLease
from subscriber.consuming.intake import Intake
from subscriber.delivery import Batch, Delivery, Fate
from subscriber.errors import HandlerUnavailable, LeaseLost


class DeliveryLoop:
    """Gives deliveries to the body of a loop, and ends the body when their lease is lost.

    Args:
        intake: where they come from.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._lease: HeldLease | None = None
        self.deliveries: list[Delivery] = []
        """What was given last."""
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._has_cancelled = False
        self._is_asked = False

    async def next(self, most: int, *, alone: bool) -> list[Delivery] | None:
        """Acknowledge what was given last, and give the next.

        Args:
            most: their greatest number.
            alone: give what comes again by itself.

        Returns:
            The deliveries; None: there are no more.

        Raises:
            LeaseLost: the lease of what was given last is lost.
            SubscriptionError: the subscription can't be consumed.
        """
        if self._is_asked:
            raise RuntimeError("the next of a Subscriber is asked for by one task at a time")
        self.acknowledge()
        self._is_asked = True
        try:
            self._intake.begin(most, 1, until_caught_up=False)
            taken = await self._intake.next(most, alone=alone)
        finally:
            self._is_asked = False
        if taken is None:
            return None
        self._lease, self.deliveries = taken
        self._task = asyncio.current_task()
        self._lease.handled.add(self)
        return self.deliveries

    def acknowledge(self) -> None:
        """Acknowledge what was given last.

        Raises:
            LeaseLost: its lease is lost.
            SubscriptionError: the subscription can't be consumed, so that it is.
            Exception: what a check of `Delivery.before_ack` raises; it is retried with that.
        """
        lease, given = self._lease, self.deliveries
        if lease is None:
            return
        # The body may have gone on although it was cancelled.
        was_lost = self._uncancel() or any(each.is_lost for each in given)
        self._let_go()
        if was_lost:
            raise self._why()
        try:
            acknowledge(lease, given)
        except Exception as error:
            lease.note(given, Fate.RETRY, error=error_text(error))
            raise

    def leave(self, error: BaseException | None) -> Exception | None:
        """Settle what was given last, as the context is left.

        Args:
            error: what leaves it.

        Returns:
            What is to be raised in place of the cancellation that a lost lease was.
        """
        lease = self._lease
        if lease is None:
            return None
        given = self.deliveries
        was_lost = self._uncancel()
        self._let_go()
        if isinstance(error, Exception) and not isinstance(error, HandlerUnavailable):
            lease.note(given, Fate.RETRY, error=error_text(error))
        else:
            lease.note(given, Fate.RELEASE)
        return self._why() if was_lost and isinstance(error, asyncio.CancelledError) else None

    def cancel(self) -> None:
        """End the body, as `asyncio.timeout` does."""
        if self._task is not None:
            self._has_cancelled = True
            self._cancelling = self._task.cancelling()
            self._task.cancel()

    def _uncancel(self) -> bool:
        """Take the cancellation back; return whether there was none but that one."""
        if not self._has_cancelled or self._task is None:
            return False
        self._has_cancelled = False
        return self._task.uncancel() <= self._cancelling

    def _let_go(self) -> None:
        if self._lease is not None:
            self._lease.handled.discard(self)
        self._intake.free(self.deliveries)
        self._lease, self.deliveries, self._task = None, [], None

    def _why(self) -> Exception:
        """Return why a lease was lost."""
        return self._intake.failure() or LeaseLost(
            "the lease of what was being handled has run out, or is somebody else's"
        )


class Take(Protocol):
    """Takes the next deliveries of a loop."""

    async def __call__(self, most: int, *, alone: bool) -> list[Delivery]:
        """Return them; StopAsyncIteration: there are no more."""


class Deliveries:
    """An iterator over deliveries.

    Args:
        take: takes the next.
    """

    def __init__(self, take: Take) -> None:
        self._take = take

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        return (await self._take(1, alone=False))[0]


class Batches:
    """An iterator over batches.

    Args:
        take: takes the next.
        max_events: deliveries of a batch at most.
    """

    def __init__(self, take: Take, max_events: int) -> None:
        self._take = take
        self._max_events = max_events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        return Batch(await self._take(self._max_events, alone=True))
