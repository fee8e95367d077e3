"""Group commit: requests that wait at the same moment share one transaction.

While a transaction is under way, requests collect; the next one takes them all, up to a
bound. Nobody waits on a timer: a lone request is committed at once, and under load batches
grow by themselves. (The swap-and-flush of river's `job_completer.go`.)

The store is given the next batch while it works on one, as soon as as many events wait as that
one holds, and goes from one to the other by itself. Requests that are stored are answered after the
store has got more to do: answering takes the event loop as long as storing takes the store.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from aggregator.ingest.flush import Flush
from aggregator.ingest.telemetry import FlushSpan, StartFlushSpan, TransactionSpan
from aggregator.logging.observer_guard import notify
from storage.errors import BatchRefused, OutcomeUnknown, StorageError
from storage.model import Appended, Event, Verdict
from storage.protocols import EventAppender


class ShuttingDown(Exception):
    """No more events are accepted, because the aggregator is about to stop."""


_MAX_BATCHES = 2
"""Batches with the store at once: the one it works on, and the next."""

_DRAIN_EXCEEDED = "drain timeout exceeded while storing this; it may be stored or not"
_UNFORESEEN = (
    "storing failed in a way that nobody foresaw, the log has the details; "
    "the events may be stored or not"
)


_NOT_APPENDED = Appended([], 0.0)


class _Request(msgspec.Struct):
    events: Sequence[Event]
    size: int
    origin: object
    verdicts: asyncio.Future[list[Verdict]]


class _Batch(NamedTuple):
    requests: list[_Request]
    events: int


class GroupCommit:
    """Batches waiting requests, gives the batches to the store, and resolves their futures.

    Its queue is bounded by who calls it (`aggregator.ingest.admission`).

    Args:
        store: where batches go; two at once, at most.
        max_flush_events: events of a batch, at most; a single request may have more.
        max_flush_bytes: bytes of a batch, at most; a single request may have more.
        on_flush: observer of every transaction, committed or not.
        start_span: starts the span of a batch; None: nothing is traced.

    Neither observer changes an outcome: what they raise is logged and goes no further.
    """

    def __init__(
        self,
        store: EventAppender,
        *,
        max_flush_events: int,
        max_flush_bytes: int,
        on_flush: Callable[[Flush], None],
        start_span: StartFlushSpan | None = None,
    ) -> None:
        self._store = store
        self._max_flush_events = max_flush_events
        self._max_flush_bytes = max_flush_bytes
        self._on_flush = on_flush
        self._start_span = start_span
        self._waiting: deque[_Request] = deque()
        self._waiting_events = 0
        # In the order in which the store was given them.
        self._with_store: dict[asyncio.Task[None], _Batch] = {}
        self._started = False
        self._start_scheduled = False
        self._closing = False

    def start(self) -> None:
        """Start to flush; needs a running event loop."""
        self._started = True
        self._start_batches()

    def submit(
        self, events: Sequence[Event], size: int, origin: object = None
    ) -> asyncio.Future[list[Verdict]]:
        """Store the events of one request, all or none.

        Args:
            events: at least one.
            size: bytes of the request, for the bound on a batch.
            origin: passed to `StartFlushSpan`.

        Returns:
            A future of the verdicts, done when they are durable. It may raise a `StorageError`,
            see `EventAppender.append`, or `ShuttingDown`.

        Raises:
            ShuttingDown: the events are not accepted.
        """
        if self._closing:
            raise ShuttingDown("the aggregator is shutting down")
        verdicts: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(events, size, origin, verdicts))
        self._waiting_events += len(events)
        if not self._start_scheduled and self._can_start_batch():
            # Not at once: what comes in with it is to share its transaction.
            self._start_scheduled = True
            asyncio.get_running_loop().call_soon(self._start_batches)
        return verdicts

    def stop_accepting(self) -> None:
        """Refuse new requests from now on; those that wait are still flushed."""
        self._closing = True

    async def drain(self, timeout_s: float) -> None:
        """Flush what waits and stop.

        Args:
            timeout_s: drain timeout in seconds; what is not stored by then is refused.
        """
        self.stop_accepting()
        # A request that has just come may not be with the store yet.
        self._start_batches()
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

    def _start_batches(self) -> None:
        self._start_scheduled = False
        while self._can_start_batch():
            batch = self._next_batch()
            flush = asyncio.create_task(self._flush(batch), name="flush")
            self._with_store[flush] = batch
            flush.add_done_callback(self._forget)

    def _forget(self, flush: asyncio.Task[None]) -> None:
        # One that was cancelled before its first step could do nothing itself.
        batch = self._with_store.pop(flush, None)
        if batch is not None:
            self._refuse(batch.requests, _never_stored())

    def _can_start_batch(self) -> bool:
        if not self._waiting or not self._started:
            return False
        if not self._with_store:
            return True
        if len(self._with_store) == _MAX_BATCHES:
            return False
        # Fewer had better wait for company, while the store is busy.
        return self._waiting_events >= next(iter(self._with_store.values())).events

    def _next_batch(self) -> _Batch:
        requests = [self._waiting.popleft()]
        events, size = len(requests[0].events), requests[0].size
        while self._waiting:
            events += len(self._waiting[0].events)
            size += self._waiting[0].size
            if events > self._max_flush_events or size > self._max_flush_bytes:
                break
            requests.append(self._waiting.popleft())
        count = sum(len(request.events) for request in requests)
        self._waiting_events -= count
        return _Batch(requests, count)

    async def _flush(self, batch: _Batch) -> None:
        span = None
        if self._start_span is not None:
            origins = [request.origin for request in batch.requests]
            span = notify(self._start_span, batch.events, origins)
        try:
            await self._store_or_refuse(batch.requests, span)
        finally:
            if span is not None:
                notify(span.end)
            flush = asyncio.current_task()
            if flush is not None:
                del self._with_store[flush]
            self._start_batches()

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
            self._refuse(
                requests,
                OutcomeUnknown(_DRAIN_EXCEEDED),
            )
            raise
        except Exception:  # noqa: BLE001 - on_flush has it; whoever waits must hear
            # Even COMMIT may be behind it; and its text may hold anything.
            self._refuse(requests, OutcomeUnknown(_UNFORESEEN))

    async def _append(self, requests: list[_Request], span: FlushSpan | None) -> None:
        events = [event for request in requests for event in request.events]
        transaction, log_fields = _start_transaction_span(span, len(events), len(requests))
        started = time.perf_counter()
        error: BaseException | None = None
        appended = _NOT_APPENDED
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
                Flush(len(events), len(requests), duration_ms, error, *appended, log_fields),
            )
        # The next batch goes first.
        asyncio.get_running_loop().call_soon(_resolve, requests, appended.verdicts)

    def _refuse(self, requests: Iterable[_Request], error: Exception) -> None:
        for request in requests:
            if not request.verdicts.done():
                request.verdicts.set_exception(error)


def _start_transaction_span(
    span: FlushSpan | None, events: int, requests: int
) -> tuple[TransactionSpan | None, Mapping[str, str]]:
    """The span of a try and the log fields of its flush; none of either if it is not traced."""
    if span is None:
        return None, {}
    transaction = notify(lambda: span.transaction(events=events, requests=requests))
    return transaction, notify(lambda: span.log_fields) or {}


def _resolve(requests: Sequence[_Request], verdicts: list[Verdict]) -> None:
    start = 0
    for request in requests:
        end = start + len(request.events)
        if not request.verdicts.done():
            request.verdicts.set_result(verdicts[start:end])
        start = end


def _never_stored() -> ShuttingDown:
    return ShuttingDown("the aggregator shut down before this was stored")
