"""The sender of a plan, in a closed or in an open loop."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from publisher.credentials import NO_CREDENTIALS, Credentials
from publisher.errors import PublishError
from publisher.load.content import Content
from publisher.load.measurements import Measurements
from publisher.load.plan import Plan
from publisher.load.verdict_check import KeyAlreadyStored, UnansweredAttempts, VerdictCheck
from publisher.retry import Retry, RetryPolicy, publish_batch

# The event loop's own clock may stand still for a whole round of it, and count milliseconds.
_clock = time.perf_counter


class RunEnded(Exception):
    """The run ended before every request had its response; the message is one sentence."""


class _BatchSplit(Exception):
    def __init__(self, events: int) -> None:
        super().__init__(
            f"its {events:,} events are too much for one request to this aggregator: choose a "
            "smaller --batch or --payload-bytes"
        )


@dataclass(slots=True)
class _Attempts:
    """The attempts of a request; one that timed out may be stored afterwards."""

    started_at: float
    unanswered: int = 0
    late: int = 0


class Sender:
    """Sends the requests of a plan in their order, up to `concurrency` of them at once.

    Args:
        plan: the plan.
        content: the content of its events.
        verdicts: checks the response to each request.
        measurements: records latencies and retries.
        rate: events per second of an open loop, in which request n is due n * batch / rate seconds
            after the start, however long those before it take. None for a closed loop, in which
            each connection sends its next request when it has the response to the last.
        policy: the waits and deadlines of retries.
        on_events: called with the number of events of each answered request.
        credentials: what is shown with each request.
    """

    def __init__(
        self,
        plan: Plan,
        content: Content,
        verdicts: VerdictCheck,
        measurements: Measurements,
        *,
        rate: float | None,
        policy: RetryPolicy,
        on_events: Callable[[int], object],
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        self._plan = plan
        self._content = content
        self._verdicts = verdicts
        self._measurements = measurements
        self._rate = rate
        self._policy = policy
        self._on_events = on_events
        self._credentials = credentials
        self._next = 0
        self._acknowledged = bytearray(plan.shape.requests)
        self._waiting: dict[int, asyncio.Event] = {}
        self._started_at = 0.0

    async def run(self, session: aiohttp.ClientSession, url: str) -> None:
        """Send every request and wait for the last response.

        Args:
            session: the HTTP session to send them with.
            url: the aggregator's URL.

        Raises:
            RunEnded: a request was refused or given up, or a key was stored before the run.
        """
        shape = self._plan.shape
        self._started_at = _clock()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(shape.concurrency, shape.requests)):
                    group.create_task(self._work(session, url))
        except ExceptionGroup as failures:
            ended, others = failures.split(RunEnded)
            if ended is None or others is not None:
                raise
            raise ended.exceptions[0] from None

    async def _work(self, session: aiohttp.ClientSession, url: str) -> None:
        while self._next < self._plan.shape.requests:
            request = self._next
            self._next += 1
            batch = [self._content.event(place) for place in self._plan.positions(request)]
            due_at = None
            if self._rate is not None:
                due_at = self._started_at + request * self._plan.shape.batch / self._rate
                # Again, since a timer may end a little early.
                while (wait_s := due_at - _clock()) > 0:  # noqa: ASYNC110 - waits for a moment
                    await asyncio.sleep(wait_s)
            for needed in self._plan.needed_before(request):
                await self._until_acknowledged(needed)
            sent_at = _clock()
            attempts = _Attempts(sent_at)
            on_retry = self._retry_recorder(attempts, len(batch))
            try:
                outcomes = await publish_batch(
                    session,
                    url,
                    batch,
                    policy=self._policy,
                    on_retry=on_retry,
                    credentials=self._credentials,
                )
                answered_at = _clock()
                unanswered = UnansweredAttempts(attempts.unanswered, attempts.late)
                self._verdicts.check_response(request, outcomes, unanswered)
            except KeyAlreadyStored as error:
                raise RunEnded(f"{error}: give each run another --run") from error
            except (PublishError, _BatchSplit) as error:
                requests = self._plan.shape.requests
                raise RunEnded(f"request {request + 1:,} of {requests:,}: {error}") from error
            service_s = answered_at - sent_at
            latency_s = service_s if due_at is None else answered_at - due_at
            self._measurements.record_response(
                answered_at - self._started_at, len(batch), latency_s, service_s
            )
            self._acknowledge(request)
            self._on_events(len(batch))

    def _retry_recorder(self, attempts: _Attempts, events: int) -> Callable[[Retry], None]:
        def on_retry(retry: Retry) -> None:
            now = _clock()
            self._measurements.record_retry(now - self._started_at, retry.reason)
            if retry.events != events:
                # It is unknown which half that attempt was about.
                raise _BatchSplit(events)
            if retry.may_be_stored:
                attempts.unanswered += 1
                if now - attempts.started_at >= self._policy.attempt_timeout_s:
                    attempts.late += 1
            attempts.started_at = now + retry.wait_s

        return on_retry

    def _acknowledge(self, request: int) -> None:
        self._acknowledged[request] = True
        if waiting := self._waiting.pop(request, None):
            waiting.set()

    async def _until_acknowledged(self, request: int) -> None:
        if not self._acknowledged[request]:
            await self._waiting.setdefault(request, asyncio.Event()).wait()
