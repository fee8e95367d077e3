"""Group commit: requests that wait at the same moment share one transaction.

While a transaction is under way, requests collect; the next one takes them all, up to a
bound. Nobody waits on a timer: a lone request is committed at once, and under load batches
grow by themselves. (The swap-and-flush of river's `job_completer.go`.)

The store is given the next batch while it works on one, as soon as as many events wait as that
one holds, and goes from one to the other by itself. What is done is answered after the store has
got more to do: answering takes the event loop as long as storing takes the store.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from aggregator.ingest.telemetry import FlushSpan, TraceFlush, TransactionSpan
from aggregator.log.observers import notify
from storage.errors import BatchRefused, OutcomeUnknown, StorageError
from storage.model import Appended, Event, Verdict
from storage.protocols import EventStore


class ShuttingDown(Exception):
    """No more events are taken, because the aggregator is about to stop."""


class Flush(msgspec.Struct, frozen=True):
    """What one transaction did: how many events of how many requests, and in what time.

    `error` is None if it was committed; then there is a verdict for each event.
    """

    events: int
    requests: int
    duration_ms: float
    error: BaseException | None
    verdicts: Sequence[Verdict] = ()
    commit_s: float = 0.0
    """What of it COMMIT took, in seconds."""
    names: Mapping[str, str] = {}
    """Of its span, for log lines; empty if it is not traced."""


_MOST_BATCHES = 2
"""With the store at once: the one it works on, and the next."""

_UNFORESEEN = (
    "storing failed in a way that nobody foresaw, the log has the details; "
    "the events may be stored or not"
)


_NOTHING = Appended([], 0.0)


class _Request(msgspec.Struct):
    events: Sequence[Event]
    size: int
    origin: object
    verdicts: asyncio.Future[list[Verdict]]


class _Batch(NamedTuple):
    requests: list[_Request]
    events: int


class GroupCommit:
    """Puts waiting requests into batches, gives them to the store, hands out the verdicts.

    Its queue is bounded by who calls it (`aggregator.ingest.admission`).

    Args:
        store: where batches go; two at once, at most.
        max_flush_events, max_flush_bytes: where a batch ends. A single request may be larger.
        on_flush: told of every transaction, committed or not.
        trace: told of every batch, if they are traced.

    Neither changes an outcome: what they raise is logged and goes no further.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        max_flush_events: int,
        max_flush_bytes: int,
        on_flush: Callable[[Flush], None],
        trace: TraceFlush | None = None,
    ) -> None:
        self._store = store
        self._max_flush_events = max_flush_events
        self._max_flush_bytes = max_flush_bytes
        self._on_flush = on_flush
        self._trace = trace
        self._waiting: deque[_Request] = deque()
        self._waiting_events = 0
        # In the order in which the store was given them.
        self._with_store: dict[asyncio.Task[None], _Batch] = {}
        self._started = False
        self._about_to_take = False
        self._closing = False

    def start(self) -> None:
        """Begin to flush; needs a running event loop."""
        self._started = True
        self._take_all()

    def submit(
        self, events: Sequence[Event], size: int, origin: object = None
    ) -> asyncio.Future[list[Verdict]]:
        """Store the events of one request, all or none.

        Args:
            events: at least one.
            size: bytes of the request, for the bound on a batch.
            origin: what the request is to whoever traces; see `TraceFlush`.

        Returns a future of the verdicts, done when they are durable. It may raise a
        `StorageError`, see `EventStore.append`, or `ShuttingDown`.

        Raises:
            ShuttingDown: not taken.
        """
        if self._closing:
            raise ShuttingDown("the aggregator is shutting down")
        verdicts: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(events, size, origin, verdicts))
        self._waiting_events += len(events)
        if not self._about_to_take and self._may_take():
            # Not at once: what comes in with it is to share its transaction.
            self._about_to_take = True
            asyncio.get_running_loop().call_soon(self._take_all)
        return verdicts

    def stop_taking(self) -> None:
        """Refuse new requests from now on; those that wait are still flushed."""
        self._closing = True

    async def drain(self, timeout_s: float) -> None:
        """Flush what waits and end, in `timeout_s` seconds at the most; the rest is refused."""
        self.stop_taking()
        # A request that has just come may not be with the store yet.
        self._take_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._with_store:
                    await asyncio.wait(self._with_store)
        self._refuse(self._waiting, _never_stored())
        self._waiting.clear()
        self._waiting_events = 0
        for flush in self._with_store:
            flush.cancel()
        await asyncio.gather(*self._with_store, return_exceptions=True)

    def _take_all(self) -> None:
        self._about_to_take = False
        while self._may_take():
            batch = self._take()
            flush = asyncio.create_task(self._flush(batch), name="flush")
            self._with_store[flush] = batch
            flush.add_done_callback(self._forget)

    def _forget(self, flush: asyncio.Task[None]) -> None:
        # One that was cancelled before its first step could do nothing itself.
        batch = self._with_store.pop(flush, None)
        if batch is not None:
            self._refuse(batch.requests, _never_stored())

    def _may_take(self) -> bool:
        if not self._waiting or not self._started:
            return False
        if not self._with_store:
            return True
        if len(self._with_store) == _MOST_BATCHES:
            return False
        # Fewer are better collected on, while the store is busy.
        return self._waiting_events >= next(iter(self._with_store.values())).events

    def _take(self) -> _Batch:
        taken = [self._waiting.popleft()]
        events, size = len(taken[0].events), taken[0].size
        while self._waiting:
            events += len(self._waiting[0].events)
            size += self._waiting[0].size
            if events > self._max_flush_events or size > self._max_flush_bytes:
                break
            taken.append(self._waiting.popleft())
        count = sum(len(request.events) for request in taken)
        self._waiting_events -= count
        return _Batch(taken, count)

    async def _flush(self, batch: _Batch) -> None:
        span = None
        if self._trace is not None:
            origins = [request.origin for request in batch.requests]
            span = notify(self._trace, batch.events, origins)
        try:
            await self._store_or_refuse(batch.requests, span)
        finally:
            if span is not None:
                notify(span.end)
            flush = asyncio.current_task()
            if flush is not None:
                del self._with_store[flush]
            self._take_all()

    async def _store_or_refuse(self, requests: list[_Request], span: FlushSpan | None) -> None:
        try:
            await self._append(requests, span)
        except BatchRefused as error:
            if len(requests) == 1:
                self._refuse(requests, error)
                return
            # Rolled back, and one request is to blame: its neighbours must not pay for it.
            alone = deque(requests)
            try:
                while alone:
                    await self._store_or_refuse([alone.popleft()], span)
            finally:
                # Empty, unless the drain ran out of time.
                self._refuse(alone, ShuttingDown("the aggregator shut down before storing this"))
        except StorageError as error:
            self._refuse(requests, error)
        except asyncio.CancelledError:
            self._refuse(requests, OutcomeUnknown("the aggregator stopped while storing this"))
            raise
        except Exception:  # noqa: BLE001 - on_flush has it; whoever waits must hear
            # Even COMMIT may be behind it; and its text may hold anything.
            self._refuse(requests, OutcomeUnknown(_UNFORESEEN))

    async def _append(self, requests: list[_Request], span: FlushSpan | None) -> None:
        events = [event for request in requests for event in request.events]
        transaction, names = _begin_transaction(span, len(events), len(requests))
        started = time.perf_counter()
        error: BaseException | None = None
        appended = _NOTHING
        try:
            appended = await self._store.append(events)
        except BaseException as raised:
            error = raised
            raise
        finally:
            duration_ms = (time.perf_counter() - started) * 1000
            if transaction is not None:
                notify(transaction.end, error)
            notify(
                self._on_flush,
                Flush(len(events), len(requests), duration_ms, error, *appended, names),
            )
        # The next batch goes first.
        asyncio.get_running_loop().call_soon(_hand_out, requests, appended.verdicts)

    def _refuse(self, requests: Sequence[_Request] | deque[_Request], error: Exception) -> None:
        for request in requests:
            if not request.verdicts.done():
                request.verdicts.set_exception(error)


def _begin_transaction(
    span: FlushSpan | None, events: int, requests: int
) -> tuple[TransactionSpan | None, Mapping[str, str]]:
    """The span of a try and the names of its flush; none of either if it is not traced."""
    if span is None:
        return None, {}
    transaction = notify(lambda: span.transaction(events=events, requests=requests))
    return transaction, notify(lambda: span.names) or {}


def _hand_out(requests: Sequence[_Request], verdicts: list[Verdict]) -> None:
    start = 0
    for request in requests:
        end = start + len(request.events)
        if not request.verdicts.done():
            request.verdicts.set_result(verdicts[start:end])
        start = end


def _never_stored() -> ShuttingDown:
    return ShuttingDown("the aggregator shut down before this was stored")
