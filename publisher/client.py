"""The asynchronous publisher, which sends events in batches, at least once.

async with Publisher("http://127.0.0.1:8080") as publisher:
    verdict = await publisher.publish(Event("orders", {"total": 42}, source="shop"))
"""

import asyncio
import logging
from copy import copy
from types import TracebackType
from typing import Self

import aiohttp

from publisher.batching import Buffer, Limits, Pending
from publisher.credentials import NO_CREDENTIALS, Credentials
from publisher.errors import EventRejected, NotSent, PublishAbandoned, PublishError
from publisher.events import EncodedEvent, Event, encode_event
from publisher.response import Verdict
from publisher.retry import OnRetry, Retry, RetryPolicy, deliver
from publisher.urls import check_base_url

_log = logging.getLogger("publisher")


class Publisher:
    """Publishes events to one aggregator, as an asynchronous context manager that is entered once.

    Leaving the context sends the pending events first. Leaving it by a cancellation does not wait:
    the pending events get NotSent or PublishAbandoned. A Publisher belongs to one event loop.

    Args:
        url: the aggregator's URL, without `/publish`.
        limits: the size of a batch and the number of pending events.
        policy: the waits and deadlines of retries. The deadline of an event counts from when it was
            accepted. The events of one request are given up together, when the last of them is due.
        max_requests_in_flight: largest number of concurrent requests, at least 1.
        ordered: send one request at a time, and nothing behind a request that is refused or given
            up (NotSent). Events of a topic are then stored in the order in which they were
            submitted. An event that is rejected by itself does not stop the others.
        credentials: the token, whom to trust, the client's certificate and further headers.
        on_retry: called for each attempt that failed and is followed by another. Without it, the
            logger `publisher` gets a warning for the first one of each request. An exception that
            it raises goes to the event loop's exception handler.

    Raises:
        ValueError: a URL that is none, a number out of range, or credentials that do not go with
            the URL; one sentence.
    """

    def __init__(
        self,
        url: str,
        *,
        limits: Limits | None = None,
        policy: RetryPolicy | None = None,
        max_requests_in_flight: int = 4,
        ordered: bool = False,
        credentials: Credentials | None = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        check_base_url(url)
        if max_requests_in_flight < 1:
            sentence = f"max_requests_in_flight must be at least 1, not {max_requests_in_flight!r}"
            raise ValueError(sentence)
        self._credentials = credentials or NO_CREDENTIALS
        self._credentials.check_url(url)
        self._url = url
        self._buffer = Buffer(limits or Limits())
        self._policy = policy or RetryPolicy()
        self._requests = 1 if ordered else max_requests_in_flight
        self._ordered = ordered
        self._on_retry = on_retry or _warn_once
        self._batch_lock = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._senders: list[asyncio.Task[None]] = []
        self._accepting = False
        self._closed_reason = NotSent("the publisher is not open: use `async with`")

    async def __aenter__(self) -> Self:
        """Open the publisher.

        Raises:
            RuntimeError: it was entered before.
        """
        if self._session is not None:
            raise RuntimeError("a Publisher is entered once: make another one")
        session = aiohttp.ClientSession(connector=self._credentials.connector(self._requests))
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._senders = [
            asyncio.create_task(self._send_batches(session)) for _ in range(self._requests)
        ]
        self._accepting = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the publisher; unless cancelled or interrupted, send the pending events first."""
        # A cancellation or an interrupt is not to wait for a deadline.
        await self.aclose(flush=error is None or isinstance(error, Exception))

    async def aclose(self, *, flush: bool) -> None:
        """Accept no more events, and close; leaving the context does the same.

        Args:
            flush: wait until every pending event has its outcome. Without it, the pending events
                get NotSent or PublishAbandoned.
        """
        self._close(NotSent("the publisher was closed"))
        try:
            if flush:
                await self.flush()
        finally:
            await self._end()

    async def publish(self, event: Event) -> Verdict:
        """Publish an event and wait for its verdict.

        Publishing the same event again is safe after every error, and after a cancellation, which
        does not take back an event that was accepted.

        Args:
            event: the event.

        Returns:
            The verdict, which is durable.

        Raises:
            PublishError: there is no verdict: EventInvalid for an event without JSON form (a
                ValueError too), EventRejected, PublishRefused (TlsError is one of these),
                PublishGaveUp, NotSent or PublishAbandoned.
        """
        return await asyncio.shield(await self.submit(event))

    async def submit(self, event: Event) -> asyncio.Future[Verdict]:
        """Accept an event, waiting while there is no room.

        A call that is cancelled while it waits may have had its event accepted in the same moment.

        Args:
            event: the event.

        Returns:
            A future of the verdict. It raises as `publish` does. Cancelling it does not take the
            event back.

        Raises:
            EventInvalid: the event has no JSON form.
            NotSent: the publisher is closed or has stopped.
            RuntimeError: called in another event loop than the one it was opened in.
        """
        return await self.submit_encoded(encode_event(event))

    async def submit_encoded(self, event: EncodedEvent) -> asyncio.Future[Verdict]:
        """Accept an event that is encoded already, as `submit` does.

        Args:
            event: the encoded event.

        Returns:
            A future of the verdict.

        Raises:
            NotSent: as for `submit`.
            RuntimeError: as for `submit`.
        """
        if not self._accepting:
            raise copy(self._closed_reason)
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("a Publisher belongs to the event loop in which it was opened")
        pending = await self._buffer.put(event)
        if pending is None:
            raise copy(self._closed_reason)
        return pending.verdict

    async def flush(self) -> None:
        """Send the events accepted so far without lingering, and wait for their outcomes.

        An event that was refused or given up raises from its future, not from here.
        """
        await self._buffer.flush()

    async def _send_batches(self, session: aiohttp.ClientSession) -> None:
        while True:
            # One after another, so that batches leave in the order of their events.
            async with self._batch_lock:
                batch = await self._buffer.next_batch()
            try:
                failure = await self._send(session, batch)
                if failure and self._ordered:
                    self._stop(failure)
            except BaseException:
                _fail(batch, PublishAbandoned())
                raise
            finally:
                self._buffer.release(batch)

    async def _send(
        self, session: aiohttp.ClientSession, batch: list[Pending]
    ) -> PublishError | None:
        """Send a batch and set its verdicts; returns why a part of it has no outcome, if so."""
        try:
            outcomes, failure = await deliver(
                session,
                self._url,
                [pending.event for pending in batch],
                policy=self._policy,
                on_retry=self._notify_retry,
                give_up_at=batch[-1].accepted_at + self._policy.deadline_s,
                credentials=self._credentials,
            )
        except Exception as error:  # noqa: BLE001 - every failure reaches those who wait
            _report("sending a batch failed", error)
            fault = PublishAbandoned(f"sending failed by a fault in this program ({error!r})")
            fault.__cause__ = error
            _fail(batch, fault)
            return fault
        for pending, outcome in zip(batch, outcomes, strict=False):
            if pending.verdict.done():
                continue
            if isinstance(outcome, EventRejected):
                pending.verdict.set_exception(outcome)
            else:
                pending.verdict.set_result(outcome)
        if failure:
            # Those that have none of their own.
            _fail(batch, failure)
        return failure

    def _notify_retry(self, retry: Retry) -> None:
        try:
            self._on_retry(retry)
        except Exception as error:  # noqa: BLE001 - a fault in a callback costs no event
            _report("on_retry failed", error)

    def _stop(self, error: PublishError) -> None:
        reason = NotSent(f"not sent, because a request before it was not taken: {error}")
        self._close(reason)
        self._drop_queued(reason)

    def _close(self, reason: NotSent) -> None:
        if self._accepting:
            self._accepting, self._closed_reason = False, reason
            self._buffer.reject_waiters()

    def _drop_queued(self, reason: NotSent) -> None:
        queued = self._buffer.drain()
        _fail(queued, reason)
        self._buffer.release(queued)

    async def _end(self) -> None:
        reason = NotSent("the publisher was closed")
        self._close(reason)
        self._drop_queued(reason)
        for sender in self._senders:
            sender.cancel()
        try:
            await asyncio.gather(*self._senders, return_exceptions=True)
        finally:
            if self._session is not None:
                await self._session.close()


def _fail(batch: list[Pending], error: PublishError) -> None:
    for pending in batch:
        if not pending.verdict.done():
            # A copy each: an exception gathers the traceback of every place that raises it.
            copied = copy(error)
            copied.__cause__ = error.__cause__
            pending.verdict.set_exception(copied)


def _report(what: str, error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler(
        {"message": f"publisher: {what}", "exception": error}
    )


def _warn_once(retry: Retry) -> None:
    if retry.attempt == 1:
        events = "1 event" if retry.events == 1 else f"{retry.events:,} events"
        _log.warning(
            "%s; trying again with %s (request id %s)", retry.reason, events, retry.request_id
        )
