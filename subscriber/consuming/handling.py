"""The handling of deliveries: each in a task, batches in halves when they fail."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from publisher.refusals import one_line
from subscriber.consuming.held_lease import HeldLease
from subscriber.consuming.intake import Intake
from subscriber.delivery import MAX_ERROR_CHARACTERS, Batch, Delivery, Fate
from subscriber.errors import HandlerFailed, HandlerUnavailable, LeaseLost

_log = logging.getLogger("subscriber")

Handler: TypeAlias = Callable[[Delivery], Awaitable[object]]
BatchHandler: TypeAlias = Callable[[Batch], Awaitable[object]]
Handle: TypeAlias = Callable[[HeldLease, list[Delivery]], Coroutine[Any, Any, None]]
"""Handles what was taken, and settles it in every case."""


def error_text(error: BaseException) -> str:
    """Return the text of an exception, for the dead letters."""
    text = str(error)
    if not isinstance(error, HandlerFailed):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:MAX_ERROR_CHARACTERS]


def acknowledge(lease: HeldLease, deliveries: Sequence[Delivery]) -> None:
    """Have acknowledged what is open of deliveries whose handling has ended well.

    Raises:
        Exception: what a check of `Delivery.before_ack` raises.
    """
    for delivery in deliveries:
        if delivery.fate is Fate.OPEN:
            delivery.check_ack()
    lease.note(deliveries, Fate.ACK)


class _Running:
    """A task that handles deliveries."""

    __slots__ = ("deliveries", "task")

    def __init__(self, deliveries: list[Delivery]) -> None:
        self.deliveries = deliveries
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Cancel the task."""
        if self.task is not None:
            self.task.cancel()


class Handling:
    """Gives the deliveries of an intake to a handler, up to so many at once.

    Args:
        intake: where they come from.
        handle: handles what is taken.
        most: deliveries that are taken together, at most.
        concurrency: how many times so many may be handled at once.
    """

    def __init__(self, intake: Intake, handle: Handle, *, most: int, concurrency: int) -> None:
        self._intake = intake
        self._handle = handle
        self._most = most
        self._concurrency = concurrency
        self._running: set[_Running] = set()
        self._ended = asyncio.Event()
        self._is_over = False
        self._failure: BaseException | None = None

    async def run(self) -> None:
        """Handle deliveries until there are no more.

        Raises:
            SubscriptionError: the subscription can't be consumed.
        """
        try:
            while (taken := await self._next()) is not None:
                self._begin(*taken)
                self._begin_more()
                await self._until(self._concurrency - 1)
            await self._until(0)
        finally:
            self._is_over = True
            for running in self._running:
                running.cancel()
            while self._running:
                self._ended.clear()
                await self._ended.wait()

    async def _next(self) -> tuple[HeldLease, list[Delivery]] | None:
        return await self._intake.next(self._most, has_room=self._has_room)

    def _has_room(self) -> bool:
        """Return whether another may be begun; those that end begin others by themselves."""
        if self._failure is not None:
            raise self._failure
        return len(self._running) < self._concurrency

    def _begin(self, lease: HeldLease, deliveries: list[Delivery]) -> None:
        running = _Running(deliveries)
        self._running.add(running)
        lease.handled.add(running)
        running.task = asyncio.create_task(self._run(running, lease))
        running.task.add_done_callback(lambda _: self._end_unbegun(running, lease))

    def _begin_more(self) -> None:
        """Begin what is there, as far as there is room."""
        while self._has_room() and not self._is_over:
            taken = self._intake.take(self._most)
            if taken is None:
                return
            self._begin(*taken)

    async def _run(self, running: _Running, lease: HeldLease) -> None:
        try:
            await self._handle(lease, running.deliveries)
        except asyncio.CancelledError:
            # It released its deliveries, or was cancelled with all of this.
            pass
        except BaseException as error:
            self._failure = _told(error)
            if not isinstance(error, (Exception, WrongHandler)):
                raise
        finally:
            self._end(running, lease)

    def _end_unbegun(self, running: _Running, lease: HeldLease) -> None:
        """Release what a task was to handle that was cancelled before it began."""
        if running in self._running:
            lease.note(running.deliveries, Fate.RELEASE)
            self._end(running, lease)

    def _end(self, running: _Running, lease: HeldLease) -> None:
        self._running.discard(running)
        lease.handled.discard(running)
        self._intake.free(running.deliveries)
        # From here the next is begun without a way through the event loop.
        if self._failure is None:
            self._begin_more()
        if len(self._running) < self._concurrency:
            self._ended.set()

    async def _until(self, running: int) -> None:
        """Wait until no more than so many are being handled."""
        while len(self._running) > running and self._failure is None:
            self._ended.clear()
            await self._ended.wait()
        if self._failure is not None:
            raise self._failure


def one_by_one(handler: Handler) -> Handle:
    """Return what handles a single delivery with a handler."""

    async def handle(lease: HeldLease, deliveries: list[Delivery]) -> None:
        (delivery,) = deliveries
        try:
            await _awaitable(handler(delivery))
            acknowledge(lease, deliveries)
        except HandlerUnavailable:
            lease.note(deliveries, Fate.RELEASE)
            raise
        except Exception as error:  # noqa: BLE001 - it is what the delivery is retried with
            _retry(lease, delivery, error)
        except BaseException:
            if _is_lost(deliveries):
                return
            lease.note(deliveries, Fate.RELEASE)
            raise
        _is_lost(deliveries)

    return handle


def in_halves(handler: BatchHandler) -> Handle:
    """Return what handles a batch with a handler, and its halves where that fails."""

    async def handle(lease: HeldLease, deliveries: list[Delivery]) -> None:
        parts = [deliveries]
        try:
            while parts:
                part = [each for each in parts.pop() if each.fate is Fate.OPEN]
                if not part:
                    continue
                try:
                    await _awaitable(handler(Batch(part)))
                    acknowledge(lease, part)
                except HandlerUnavailable:
                    raise
                except Exception as error:  # noqa: BLE001 - as above, of what failed alone
                    part = [each for each in part if each.fate is Fate.OPEN]
                    if len(part) == 1:
                        _retry(lease, part[0], error)
                    elif part:
                        _log.log(
                            # The cause is in the first; the halves tell which of them has it.
                            logging.WARNING if len(part) == len(deliveries) else logging.INFO,
                            "a batch of %d failed and is handled in halves: %s",
                            len(part),
                            one_line(error_text(error)),
                        )
                        half = len(part) // 2
                        parts += [part[half:], part[:half]]
        except BaseException:
            if _is_lost(deliveries):
                return
            lease.note(deliveries, Fate.RELEASE)
            raise
        _is_lost(deliveries)

    return handle


def _told(error: BaseException) -> BaseException:
    return TypeError(str(error)) if isinstance(error, WrongHandler) else error


class WrongHandler(BaseException):
    """A handler is of the wrong kind: no failure of a delivery, but of the program; a sentence."""


def _awaitable(result: object) -> Awaitable[object]:
    if not isinstance(result, Awaitable):
        raise WrongHandler(
            "a handler must be a coroutine function (async def); plain ones are for "
            "BlockingSubscriber"
        )
    return result


def _retry(lease: HeldLease, delivery: Delivery, error: Exception) -> None:
    if delivery.fate is not Fate.OPEN:
        if not (delivery.is_lost and isinstance(error, LeaseLost)):
            _log.warning(
                "the handler of %s/%d failed, behind its end as %s: %s",
                delivery.topic,
                delivery.offset,
                delivery.fate.value,
                one_line(error_text(error)),
                exc_info=error,
            )
        return
    text = error_text(error)
    _log.warning(
        "delivery %d of %s/%d failed: %s",
        delivery.delivery,
        delivery.topic,
        delivery.offset,
        one_line(text),
        exc_info=None if isinstance(error, HandlerFailed) else error,
    )
    lease.note([delivery], Fate.RETRY, error=text)


def _is_lost(deliveries: Sequence[Delivery]) -> bool:
    lost = [each for each in deliveries if each.is_lost]
    if lost:
        _log.warning(
            "the lease of %d deliveries was lost, from %s/%d on; they come again",
            len(lost),
            lost[0].topic,
            lost[0].offset,
        )
    return bool(lost)
