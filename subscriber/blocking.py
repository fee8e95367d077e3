"""The consumer of a subscription for programs without asyncio: the same, in threads."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from publisher.credentials import Credentials
from subscriber.blocking_delivery import BlockingBatch, BlockingDelivery, LoopThread
from subscriber.calls.requests import Calls
from subscriber.consuming.handling import WrongHandler
from subscriber.delivery import Batch, Delivery, Fate
from subscriber.policy import OnWait, ReconnectPolicy
from subscriber.subscription import Subscriber


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
        credentials: Credentials | None = None,
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
            credentials=credentials,
            policy=policy,
            on_wait=on_wait,
            calls=calls,
        )
        self._loop = LoopThread()

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
