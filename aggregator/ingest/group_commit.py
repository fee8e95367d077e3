"""Group commit: requests that wait at the same moment share one transaction.

While a transaction is under way, requests collect; the next one takes them all, up to a
bound. Nobody waits on a timer: a lone request is committed at once, and under load batches
grow by themselves. (The swap-and-flush of river's `job_completer.go`.)
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from storage.errors import BatchRefused, OutcomeUnknown, StorageError, StorageUnavailable
from storage.interface import EventStore
from storage.model import Event, Verdict


class ShuttingDown(Exception):
    """No more events are taken, because the aggregator is about to stop."""


class Flush(msgspec.Struct, frozen=True):
    """What one transaction did: how many events of how many requests, and in what time.

    `error` is None if it was committed.
    """

    events: int
    requests: int
    duration_ms: float
    error: BaseException | None


class _Request(msgspec.Struct):
    events: Sequence[Event]
    size: int
    verdicts: asyncio.Future[list[Verdict]]


class GroupCommit:
    """Puts waiting requests into batches, gives them to the store, hands out the verdicts.

    Its queue is bounded by who calls it (`aggregator.ingest.admission`).

    Args:
        store: where batches go; one at a time.
        max_flush_events, max_flush_bytes: where a batch ends. A single request may be larger.
        on_flush: told of every transaction, committed or not.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        max_flush_events: int,
        max_flush_bytes: int,
        on_flush: Callable[[Flush], None],
    ) -> None:
        self._store = store
        self._max_flush_events = max_flush_events
        self._max_flush_bytes = max_flush_bytes
        self._on_flush = on_flush
        self._waiting: deque[_Request] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to flush; needs a running event loop."""
        self._task = asyncio.create_task(self._run(), name="group-commit")

    def submit(self, events: Sequence[Event], size: int) -> asyncio.Future[list[Verdict]]:
        """Store the events of one request, all or none.

        Args:
            events: at least one.
            size: bytes of the request, for the bound on a batch.

        Returns a future of the verdicts, done when they are durable. It may raise a
        `StorageError`, see `EventStore.append`, or `ShuttingDown`.

        Raises:
            ShuttingDown: not taken.
        """
        if self._closing:
            raise ShuttingDown("the aggregator is shutting down")
        verdicts: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(events, size, verdicts))
        self._wake.set()
        return verdicts

    def stop_taking(self) -> None:
        """Refuse new requests from now on; those that wait are still flushed."""
        self._closing = True
        self._wake.set()

    async def drain(self, timeout_s: float) -> None:
        """Flush what waits and end, in `timeout_s` seconds at the most; the rest is refused."""
        self.stop_taking()
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=timeout_s)
        if not self._task.done():
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._refuse(self._waiting, ShuttingDown("the aggregator shut down before this was stored"))
        self._waiting.clear()

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
            await self._flush(self._take())

    def _take(self) -> list[_Request]:
        taken = [self._waiting.popleft()]
        events, size = len(taken[0].events), taken[0].size
        while self._waiting:
            events += len(self._waiting[0].events)
            size += self._waiting[0].size
            if events > self._max_flush_events or size > self._max_flush_bytes:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _flush(self, requests: list[_Request]) -> None:
        try:
            await self._append(requests)
        except BatchRefused as error:
            if len(requests) == 1:
                self._refuse(requests, error)
                return
            # Rolled back, and one request is to blame: its neighbours must not pay for it.
            alone = deque(requests)
            try:
                while alone:
                    await self._flush([alone.popleft()])
            finally:
                # Empty, unless the drain ran out of time.
                self._refuse(alone, ShuttingDown("the aggregator shut down before storing this"))
        except StorageError as error:
            self._refuse(requests, error)
        except asyncio.CancelledError:
            self._refuse(requests, OutcomeUnknown("the aggregator stopped while storing this"))
            raise
        except Exception as error:  # noqa: BLE001 - on_flush has it; whoever waits must hear
            self._refuse(requests, StorageUnavailable(f"storing failed: {error!r}"))

    async def _append(self, requests: list[_Request]) -> None:
        events = [event for request in requests for event in request.events]
        started = time.perf_counter()
        error: BaseException | None = None
        try:
            verdicts = await self._store.append(events)
        except BaseException as raised:
            error = raised
            raise
        finally:
            duration_ms = (time.perf_counter() - started) * 1000
            self._on_flush(Flush(len(events), len(requests), duration_ms, error))
        start = 0
        for request in requests:
            end = start + len(request.events)
            if not request.verdicts.done():
                request.verdicts.set_result(verdicts[start:end])
            start = end

    def _refuse(self, requests: Sequence[_Request] | deque[_Request], error: Exception) -> None:
        for request in requests:
            if not request.verdicts.done():
                request.verdicts.set_exception(error)
