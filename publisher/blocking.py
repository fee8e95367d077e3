"""Publishing for people without asyncio."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait

from publisher.batching import Limits
from publisher.client import Publisher
from publisher.errors import EventInvalid, NotSent, PublishError
from publisher.events import Event
from publisher.response import Verdict
from publisher.retry import RetryPolicy

_EVENTS_AHEAD = 1000


def publish(
    url: str,
    events: Iterable[Event],
    *,
    limits: Limits | None = None,
    policy: RetryPolicy | None = None,
    max_requests_in_flight: int = 4,
    ordered: bool = False,
) -> list[Verdict | PublishError]:
    """Publish events and wait until each is answered for.

    url: of the aggregator, without `/publish`.
    events: taken one by one in this thread, as there is room; may be a generator, also one that
    waits. What it raises is raised here, after what was taken before is answered for.
    limits, policy, max_requests_in_flight, ordered: as for Publisher.

    Gives an outcome for each event that was taken, in order: its verdict, or why it has none. When
    `ordered` publishing has stopped, at most 1,000 further events are taken.

    Raises ValueError as Publisher does, and RuntimeError inside a running event loop, which this
    would block: use Publisher there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        publisher = Publisher(
            url,
            limits=limits,
            policy=policy,
            max_requests_in_flight=max_requests_in_flight,
            ordered=ordered,
        )
        return _publish(publisher, events)
    raise RuntimeError(
        "publisher.publish would block the running event loop; use `async with Publisher(...)`"
    )


def _publish(publisher: Publisher, events: Iterable[Event]) -> list[Verdict | PublishError]:
    # The event loop has a thread of its own: while this one waits for the next event, those before
    # it are sent, and their deadlines kept.
    with (
        asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner,
        ThreadPoolExecutor(1, thread_name_prefix="publisher") as executor,
    ):
        feed = _Feed(runner.get_loop())
        outcomes = executor.submit(runner.run, feed.publish_all(publisher))
        try:
            try:
                for event in events:
                    if not feed.hand_over(event):
                        break
            except Exception:
                feed.end()
                wait([outcomes])
                raise
            feed.end()
            return outcomes.result()
        except BaseException:
            # Interrupted, here or while waiting: whoever asks for that does not want to wait.
            feed.cancel()
            raise


class _Feed:
    """Hands events from one thread to the event loop of another, a bounded number ahead."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: deque[Event | None] = deque()
        self._room = threading.Semaphore(_EVENTS_AHEAD)
        self._wake = asyncio.Event()
        self._stopped = False
        self._cancelled = False
        self._task: asyncio.Task[object] | None = None

    def hand_over(self, event: Event) -> bool:
        """Hand over an event, waiting while too many are; False, without it, once stopped."""
        self._room.acquire()
        if self._stopped:
            return False
        self._put(event)
        return True

    def end(self) -> None:
        """Say that there are no more events."""
        self._put(None)

    def cancel(self) -> None:
        """Have `publish_all` end without waiting for answers."""
        self._loop.call_soon_threadsafe(self._cancel)

    async def publish_all(self, publisher: Publisher) -> list[Verdict | PublishError]:
        """Publish what is handed over until the end of it; gives an outcome for each event."""
        self._task = asyncio.current_task()
        submitted: list[asyncio.Future[Verdict] | PublishError] = []
        try:
            async with publisher:
                while (event := await self._next()) is not None:
                    try:
                        submitted.append(await publisher.submit(event))
                    except EventInvalid as error:
                        submitted.append(error)
                    except NotSent as error:
                        submitted.append(error)
                        self._stopped = True
                    self._room.release()
        except asyncio.CancelledError:
            # Nobody will ask for these; unasked, asyncio would log each of them.
            for given in submitted:
                if isinstance(given, asyncio.Future) and not given.cancelled():
                    given.exception()
            raise
        finally:
            self._stopped = True
            self._room.release()
        return [_outcome(given) for given in submitted]

    def _put(self, event: Event | None) -> None:
        self._events.append(event)
        # With more before it, the loop has been woken already and finds it behind them.
        if len(self._events) == 1:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _next(self) -> Event | None:
        if self._cancelled:
            raise asyncio.CancelledError
        while not self._events:
            self._wake.clear()
            await self._wake.wait()
        return self._events.popleft()

    def _cancel(self) -> None:
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()


def _outcome(given: asyncio.Future[Verdict] | PublishError) -> Verdict | PublishError:
    if isinstance(given, PublishError):
        return given
    error = given.exception()
    if error is None:
        return given.result()
    if isinstance(error, PublishError):
        return error
    raise error
