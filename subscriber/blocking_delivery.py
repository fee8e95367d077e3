"""Deliveries for programs without asyncio, and the thread in which their event loop runs."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, overload

from subscriber.delivery import Batch, Delivery
from subscriber.events import Event

_Result = TypeVar("_Result")


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: it was started before.
        """
        if self._thread is not None:
            raise RuntimeError("a BlockingSubscriber is entered once: make another one")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="subscriber", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine in the loop, and wait for its result."""
        future = self.begin(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def begin(self, work: Coroutine[Any, Any, _Result]) -> "Future[_Result]":
        """Run a coroutine in the loop.

        Raises:
            RuntimeError: the context was not entered.
        """
        if self._loop is None or self._loop.is_closed():
            work.close()
            raise RuntimeError("the subscriber is not open: use `with`")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, what: Callable[[], None]) -> None:
        """Call a function in the loop, soon.

        Raises:
            RuntimeError: the context was not entered.
        """
        if self._loop is None:
            raise RuntimeError("the subscriber is not open: use `with`")
        self._loop.call_soon_threadsafe(what)


class BlockingDelivery:
    """An event that was handed out; see `subscriber.Delivery`, whose methods wait here.

    Args:
        delivery: the delivery.
        loop: its event loop, which runs in another thread.
    """

    __slots__ = ("_inner", "_loop")

    def __init__(self, delivery: Delivery, loop: LoopThread) -> None:
        self._inner = delivery
        self._loop = loop

    @property
    def event(self) -> Event:
        """The event."""
        return self._inner.event

    @property
    def topic(self) -> str:
        """The topic of the event."""
        return self._inner.topic

    @property
    def offset(self) -> int:
        """The offset of the event."""
        return self._inner.offset

    @property
    def delivery(self) -> int:
        """How often the event was handed out, this time included, from 1."""
        return self._inner.delivery

    @property
    def json(self) -> bytes:
        """The event as the JSON object that the aggregator sent, on one line without newline."""
        return self._inner.json

    @property
    def is_lost(self) -> bool:
        """Whether its lease is lost, so that somebody else may have the event by now."""
        return self._inner.is_lost

    def ack(self) -> None:
        """Acknowledge the event: it does not come again."""
        self._loop.run(self._inner.ack())

    def retry(self, *, after: float | None = None, error: str | None = None) -> None:
        """Hand the event back since it failed; see `subscriber.Delivery.retry`."""
        self._loop.run(self._inner.retry(after=after, error=error))

    def dead(self, reason: str | None = None) -> None:
        """Make the event a dead letter at once."""
        self._loop.run(self._inner.dead(reason))

    def release(self) -> None:
        """Hand the event back; its delivery does not count, and it comes again at once."""
        self._loop.run(self._inner.release())

    def before_ack(self, check: Callable[[], None]) -> None:
        """Have a check called before the event is acknowledged."""
        self._inner.before_ack(check)

    def __repr__(self) -> str:
        return repr(self._inner)


class BlockingBatch(Sequence[BlockingDelivery]):
    """Deliveries of one lease; see `subscriber.Batch`, whose methods wait here.

    Args:
        batch: the batch.
        loop: its event loop, which runs in another thread.
    """

    __slots__ = ("_batch", "_loop")

    def __init__(self, batch: Batch, loop: LoopThread) -> None:
        self._batch = batch
        self._loop = loop

    @overload
    def __getitem__(self, index: int) -> BlockingDelivery: ...

    @overload
    def __getitem__(self, index: slice) -> "BlockingBatch": ...

    def __getitem__(self, index: int | slice) -> "BlockingDelivery | BlockingBatch":
        if isinstance(index, slice):
            return BlockingBatch(self._batch[index], self._loop)
        return BlockingDelivery(self._batch[index], self._loop)

    def __len__(self) -> int:
        return len(self._batch)

    @property
    def events(self) -> list[Event]:
        """The events of the deliveries."""
        return self._batch.events

    @property
    def is_lost(self) -> bool:
        """Whether its lease is lost, so that somebody else may have the events by now."""
        return self._batch.is_lost

    def ack(self) -> None:
        """Acknowledge the events: they do not come again."""
        self._loop.run(self._batch.ack())

    def retry(self, *, after: float | None = None, error: str | None = None) -> None:
        """Hand the events back since they failed; see `subscriber.Batch.retry`."""
        self._loop.run(self._batch.retry(after=after, error=error))

    def dead(self, reason: str | None = None) -> None:
        """Make the events dead letters at once."""
        self._loop.run(self._batch.dead(reason))

    def release(self) -> None:
        """Hand the events back; their delivery does not count, and they come again at once."""
        self._loop.run(self._batch.release())

    def before_ack(self, check: Callable[[], None]) -> None:
        """Have a check called before events of it are acknowledged."""
        self._batch.before_ack(check)

    def __repr__(self) -> str:
        return repr(self._batch)
