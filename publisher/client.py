"""The publisher: events in, verdicts out, at least once, in batches.

async with Publisher("http://127.0.0.1:8080") as publisher:
    verdict = await publisher.publish(Event("orders", {"total": 42}, source="shop"))
"""

import asyncio
import logging
from copy import copy
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from publisher.batching import Buffer, Limits, Pending
from publisher.errors import EventRejected, NotSent, PublishAbandoned, PublishError
from publisher.events import EncodedEvent, Event, encode_event
from publisher.response import Verdict
from publisher.retry import OnRetry, Retry, RetryPolicy, deliver

_log = logging.getLogger("publisher")


class Publisher:
    """Publishes events to one aggregator; an asynchronous context manager, entered once.

    url: of the aggregator, without `/publish`.
    limits: of batches, and of what may wait.
    policy: when a request is tried again. Its deadline counts from when an event was accepted;
    events that share a request are given up together, when the last of them is due.
    max_requests_in_flight: how many requests may be on their way at once.
    ordered: one request at a time; and once a request is refused or given up, nothing behind it is
    sent (NotSent). Events of a topic then have the order in which they were submitted. An event
    that is rejected by itself does not stop the others.
    on_retry: called for each try that failed and is followed by another; without it, the logger
    `publisher` gets a warning for the first one of each request. What it raises goes to the event
    loop's exception handler.

    Leaving the context sends what waits; leaving it by a cancellation does not wait, and what is
    not answered for yet raises NotSent or PublishAbandoned. It belongs to one event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        limits: Limits | None = None,
        policy: RetryPolicy | None = None,
        max_requests_in_flight: int = 4,
        ordered: bool = False,
        on_retry: OnRetry | None = None,
    ) -> None:
        """Raise ValueError, one sentence, for what can't be."""
        if not _is_base(url):
            raise ValueError(
                f"{url!r} is not an http or https URL such as http://127.0.0.1:8080, "
                "without ? and #"
            )
        if max_requests_in_flight < 1:
            raise ValueError(
                f"max_requests_in_flight must be at least 1, not {max_requests_in_flight!r}"
            )
        self._url = url
        self._buffer = Buffer(limits or Limits())
        self._policy = policy or RetryPolicy()
        self._requests = 1 if ordered else max_requests_in_flight
        self._ordered = ordered
        self._on_retry = on_retry or _warn_once
        self._taking = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._senders: list[asyncio.Task[None]] = []
        self._accepting = False
        self._why_not = NotSent("the publisher is not open: use `async with`")

    async def __aenter__(self) -> Self:
        """Open it. Raises RuntimeError the second time."""
        if self._session is not None:
            raise RuntimeError("a Publisher is entered once: make another one")
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self._requests))
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
        """Close it; unless cancelled or interrupted, send what waits first."""
        # Whoever is cancelled, or interrupted, does not want to wait for a deadline.
        await self.aclose(flush=error is None or isinstance(error, Exception))

    async def aclose(self, *, flush: bool) -> None:
        """Accept nothing more, and end; leaving the context does it too.

        flush: wait until what was accepted is answered for. Without it, what is not answered for
        yet raises NotSent or PublishAbandoned.
        """
        self._close(NotSent("the publisher was closed"))
        try:
            if flush:
                await self.flush()
        finally:
            await self._end()

    async def publish(self, event: Event) -> Verdict:
        """Publish an event and wait for its verdict, which is durable.

        Raises PublishError when there is no verdict: EventInvalid for an event without JSON form
        (a ValueError too), EventRejected, PublishRefused (of which TlsError is one), PublishGaveUp,
        NotSent, PublishAbandoned.
        To publish the same event again is safe after each of them, and after a cancellation, which
        does not take back an event that was accepted.
        """
        return await asyncio.shield(await self.submit(event))

    async def submit(self, event: Event) -> asyncio.Future[Verdict]:
        """Accept an event, waiting while there is no room; gives a future of its verdict.

        The future raises as `publish` does. Cancelling it does not take the event back. Whoever is
        cancelled while waiting here may have had the event accepted in the same moment.

        Raises EventInvalid for an event without JSON form, NotSent when the publisher is closed or
        has stopped, RuntimeError in another event loop than the one it was opened in.
        """
        return await self.submit_encoded(encode_event(event))

    async def submit_encoded(self, event: EncodedEvent) -> asyncio.Future[Verdict]:
        """Accept an event that has its form on the wire already, as `submit` does."""
        if not self._accepting:
            raise copy(self._why_not)
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("a Publisher belongs to the event loop in which it was opened")
        pending = await self._buffer.put(event)
        if pending is None:
            raise copy(self._why_not)
        return pending.verdict

    async def flush(self) -> None:
        """Send what was accepted so far without lingering, and return once it is answered for.

        What was refused or given up is told by the futures, not here.
        """
        await self._buffer.flush()

    async def _send_batches(self, session: aiohttp.ClientSession) -> None:
        while True:
            # One after another, so that batches leave in the order of their events.
            async with self._taking:
                batch = await self._buffer.next_batch()
            try:
                failure = await self._send(session, batch)
                if failure and self._ordered:
                    self._stop(failure)
            except BaseException:
                _fail(batch, PublishAbandoned())
                raise
            finally:
                self._buffer.give_back(batch)

    async def _send(
        self, session: aiohttp.ClientSession, batch: list[Pending]
    ) -> PublishError | None:
        """Settle a batch; gives the reason if a part of it has no outcome."""
        try:
            outcomes, failure = await deliver(
                session,
                self._url,
                [pending.event for pending in batch],
                policy=self._policy,
                on_retry=self._tell,
                give_up_at=batch[-1].accepted_at + self._policy.deadline_s,
            )
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
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

    def _tell(self, retry: Retry) -> None:
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
            self._accepting, self._why_not = False, reason
            self._buffer.turn_away()

    def _drop_queued(self, reason: NotSent) -> None:
        queued = self._buffer.take_all()
        _fail(queued, reason)
        self._buffer.give_back(queued)

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


def _is_base(url: str) -> bool:
    try:
        parsed = URL(url)
    except (ValueError, TypeError):
        return False
    return (
        parsed.scheme in {"http", "https"}
        and bool(parsed.host)
        and "?" not in url
        and "#" not in url
    )


def _fail(batch: list[Pending], error: PublishError) -> None:
    for pending in batch:
        if not pending.verdict.done():
            # One each: an exception gathers the traceback of everybody who raises it.
            own = copy(error)
            own.__cause__ = error.__cause__
            pending.verdict.set_exception(own)


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
