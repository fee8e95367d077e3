"""The blocking call `publish`, for programs without asyncio."""

import asyncio
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait

from publisher.batching import Limits
from publisher.client import Publisher
from publisher.credentials import Credentials
from publisher.errors import EventInvalid, NotSent, PublishError
from publisher.events import Event
from publisher.response import Verdict
from publisher.retry import RetryPolicy

_MAX_FEED_EVENTS = 1000


def publish(
    url: str,
    events: Iterable[Event],
    *,
    limits: Limits | None = None,
    policy: RetryPolicy | None = None,
    max_requests_in_flight: int = 4,
    ordered: bool = False,
    credentials: Credentials | None = None,
) -> list[Verdict | PublishError]:
    """Publish events and wait until each has its outcome.

    Args:
        url: the aggregator's URL, without `/publish`.
        events: the events, consumed one by one in this thread as there is room. It may be a
            generator, also one that waits. An exception that it raises is raised here, after the
            events before it have their outcomes.
        limits: as for Publisher.
        policy: as for Publisher.
        max_requests_in_flight: as for Publisher.
        ordered: as for Publisher. Once it has stopped, at most 1,000 further events are consumed.
        credentials: as for Publisher.

    Returns:
        One outcome for each event that was consumed, in order: its verdict, or the error that says
        why it has none.

    Raises:
        ValueError: as for Publisher.
        RuntimeError: called inside a running event loop, which this would block. Use Publisher
            there.
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
            credentials=credentials,
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
                    if not feed.put(event):
                        break
            except Exception:
                feed.close()
                wait([outcomes])
                raise
            feed.close()
            return outcomes.result()
        except BaseException:
            # Interrupted, here or while waiting: an interrupt is not to wait for answers.
            feed.cancel()
            raise


class _Feed:
    """Passes events from one thread to the event loop of another, through a bounded queue.

    Args:
        loop: the event loop that publishes them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: deque[Event | None] = deque()
        self._room = threading.Semaphore(_MAX_FEED_EVENTS)
        self._wake = asyncio.Event()
        self._stopped = False
        self._cancelled = False
        self._task: asyncio.Task[object] | None = None

    def put(self, event: Event) -> bool:
        """Queue an event, waiting while the queue is full.

        Args:
            event: the event.

        Returns:
            False, and the event is not queued, once publishing has stopped.
        """
        self._room.acquire()
        if self._stopped:
            return False
        self._append(event)
        return True

    def close(self) -> None:
        """Mark the end of the events."""
        self._append(None)

    def cancel(self) -> None:
        """Cancel `publish_all`, which then does not wait for answers."""
        self._loop.call_soon_threadsafe(self._cancel)

    async def publish_all(self, publisher: Publisher) -> list[Verdict | PublishError]:
        """Publish the queued events until the feed is closed.

        Args:
            publisher: the publisher, not entered yet.

        Returns:
            One outcome for each event, in order.
        """
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
            # Nothing else will read these, and asyncio logs an exception that was never read.
            for result in submitted:
                if isinstance(result, asyncio.Future) and not result.cancelled():
                    result.exception()
            raise
        finally:
            self._stopped = True
            self._room.release()
        return [_outcome(result) for result in submitted]

    def _append(self, event: Event | None) -> None:
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


def _outcome(result: asyncio.Future[Verdict] | PublishError) -> Verdict | PublishError:
    if isinstance(result, PublishError):
        return result
    error = result.exception()
    if error is None:
        return result.result()
    if isinstance(error, PublishError):
        return error
    raise error
