"""The consumer of a subscription for programs without asyncio: the same, in threads."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from subscriber.calls.requests import Calls
from subscriber.consuming.handling import WrongHandler
from subscriber.delivery import Batch, Delivery, Fate
from subscriber.events import Event
from subscriber.policy import OnWait, ReconnectPolicy
from subscriber.subscription import Subscriber

_Result = TypeVar("_Result")


class BlockingDelivery:
    """An event that was handed out; see `subscriber.Delivery`, whose methods wait here.

    Args:
        delivery: the delivery.
        loop: its event loop, which runs in another thread.
    """

    __slots__ = ("_inner", "_loop")

    def __init__(self, delivery: Delivery, loop: "_Loop") -> None:
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

    def __init__(self, batch: Batch, loop: "_Loop") -> None:
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


class BlockingSubscriber:
    """Consumes a subscription, as a context manager that is entered once.

    It has an event loop in a thread of its own, which leases, settles and extends while this thread
    and those of handlers work. The arguments are those of `subscriber.Subscriber`; `on_wait` is
    called in that thread.

    Raises:
        ValueError: an argument is out of its range; one sentence.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        create: Mapping[str, Any] | None = None,
        consumer: str | None = None,
        max_events: int = 100,
        ack_within_s: float = 0.05,
        close_timeout_s: float = 10.0,
        policy: ReconnectPolicy | None = None,
        on_wait: OnWait | None = None,
        calls: Calls | None = None,
    ) -> None:
        self._subscriber = Subscriber(
            url,
            name,
            create=create,
            consumer=consumer,
            max_events=max_events,
            ack_within_s=ack_within_s,
            close_timeout_s=close_timeout_s,
            policy=policy,
            on_wait=on_wait,
            calls=calls,
        )
        self._loop = _Loop()

    @property
    def name(self) -> str:
        """The name of the subscription."""
        return self._subscriber.name

    def __enter__(self) -> Self:
        """Make the subscription, if asked to, and look at its settings; see `Subscriber`."""
        self._loop.start()
        try:
            self._loop.run(self._subscriber.__aenter__())
        except BaseException:
            self._loop.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell what is to be told, release the rest, and end the thread."""
        try:
            self._loop.run(self._subscriber.__aexit__(kind, error, traceback))
        finally:
            self._loop.stop()

    def run(
        self,
        handler: Callable[[BlockingDelivery], None],
        *,
        concurrency: int = 1,
        until_caught_up: bool = False,
    ) -> None:
        """Handle deliveries in threads, until `stop` is called; see `Subscriber.run`.

        Ctrl-C finishes what is being handled, and a second one does not wait for it.
        """
        with _Handlers(concurrency) as handlers:

            def work(delivery: Delivery) -> None:
                _call_plain(handler, BlockingDelivery(delivery, self._loop))
                _check([delivery])

            async def handle(delivery: Delivery) -> None:
                await handlers.call(work, delivery)

            self._run(
                self._subscriber.run(
                    handle, concurrency=concurrency, until_caught_up=until_caught_up
                )
            )

    def run_batches(
        self,
        handler: Callable[[BlockingBatch], None],
        max_events: int = 100,
        *,
        concurrency: int = 1,
        until_caught_up: bool = False,
    ) -> None:
        """Handle batches in threads, until `stop` is called; see `Subscriber.run_batches`."""
        with _Handlers(concurrency) as handlers:

            def work(batch: Batch) -> None:
                _call_plain(handler, BlockingBatch(batch, self._loop))
                _check(batch)

            async def handle(batch: Batch) -> None:
                await handlers.call(work, batch)

            self._run(
                self._subscriber.run_batches(
                    handle,
                    max_events,
                    concurrency=concurrency,
                    until_caught_up=until_caught_up,
                )
            )

    def __iter__(self) -> Iterator[BlockingDelivery]:
        """Return the deliveries, one after the other; see `Subscriber`.

        Raises:
            LeaseLost: as the next is asked for, if the lease of the one before is lost.
        """
        deliveries = self._subscriber.__aiter__()
        while (delivery := self._next(deliveries.__anext__())) is not None:
            yield BlockingDelivery(delivery, self._loop)

    def batches(self, max_events: int = 100) -> Iterator[BlockingBatch]:
        """Return batches of deliveries, one after the other; see `Subscriber.batches`.

        Raises:
            LeaseLost: as the next is asked for, if the lease of the one before is lost.
        """
        batches = self._subscriber.batches(max_events)
        while (batch := self._next(batches.__anext__())) is not None:
            yield BlockingBatch(batch, self._loop)

    def stop(self) -> None:
        """Begin nothing more, finish what is being handled, and release the rest.

        It may be called in any thread, and in a signal handler.
        """
        self._loop.call(self._subscriber.stop)

    def _run(self, running: Coroutine[Any, Any, None]) -> None:
        future = self._loop.begin(running)
        try:
            future.result()
        except KeyboardInterrupt:
            self.stop()
            future.result()
            raise

    def _next(self, asking: Any) -> Any:
        async def ask() -> Any:
            try:
                return await asking
            except StopAsyncIteration:
                return None

        return self._loop.run(ask())


def _check(deliveries: Sequence[Delivery]) -> None:
    """Have the checks of what is to be acknowledged made in the thread that has handled it.

    Its connection may be in the next handler's transaction before the event loop gets to it.
    """
    for delivery in deliveries:
        if delivery.fate is Fate.OPEN:
            delivery.check_ack()


def _call_plain(handler: Callable[[Any], object], argument: object) -> None:
    """Call a handler, and refuse what a coroutine function gives: its work was not begun."""
    result = handler(argument)
    if isinstance(result, Awaitable):
        if isinstance(result, Coroutine):
            result.close()
        raise WrongHandler(
            "a handler of a BlockingSubscriber must be a plain function, not async def; that is "
            "for Subscriber"
        )


class _Handlers:
    """Calls handlers in threads, so many at once."""

    def __init__(self, concurrency: int) -> None:
        self._pool = ThreadPoolExecutor(max(1, concurrency), thread_name_prefix="handler")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What is still handled was given up by who interrupts a second time.
        self._pool.shutdown(wait=False)

    async def call(self, handler: Callable[[Any], object], argument: Any) -> None:
        calling = asyncio.get_running_loop().run_in_executor(self._pool, handler, argument)
        try:
            await asyncio.shield(calling)
        except asyncio.CancelledError:
            # A thread can't be cancelled; until it ends, its topic is busy.
            with suppress(Exception):
                await calling
            raise


class _Loop:
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
