"""Delivery of a batch at least once: attempts with backoff until it has its outcomes or is refused.

Sending a batch again is always safe, since the aggregator knows the events by their ids. So every
transient failure is retried (no connection, no response in time, half a response, a busy
aggregator). A failure that another attempt would not change is an error at once.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, RetryError, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from publisher.attempt import AttemptTimeout, TransientFailure, attempt_once
from publisher.credentials import NO_CREDENTIALS, Credentials
from publisher.errors import EventRejected, PublishGaveUp, PublishRefused
from publisher.events import EncodedEvent
from publisher.ids import uuid7
from publisher.response import Outcome, Verdict

_log = logging.getLogger("publisher")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Sets the waits and deadlines of retries, in seconds.

    The wait before retry n is drawn between 0 and `first_wait_s * 2**(n-1)`, at most `max_wait_s`
    (exponential backoff with full jitter), and is never shorter than the `Retry-After` of the
    response.

    Args:
        first_wait_s: greatest wait before the first retry, from 0.
        max_wait_s: greatest wait before any retry, from 0.
        deadline_s: time for all attempts together, waits included, above 0, possibly `math.inf`.
        attempt_timeout_s: time for one attempt, above 0, possibly `math.inf`.

    Raises:
        ValueError: a value is out of its range; one sentence.
    """

    first_wait_s: float = 0.1
    max_wait_s: float = 10.0
    deadline_s: float = 300.0
    attempt_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("first_wait_s", "max_wait_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be finite and 0 or more, not {getattr(self, name)!r}"
                )
        for name in ("deadline_s", "attempt_timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")


class Retry(NamedTuple):
    """An attempt that failed and is followed by another.

    Args:
        attempt: the number of the attempt within its request, from 1.
        events: the number of its events.
        reason: why it failed, one sentence.
        may_be_stored: False if the attempt cannot have reached the aggregator's store.
        wait_s: seconds until the next attempt.
        request_id: the `X-Request-ID` of all attempts, which is also in the aggregator's log.
    """

    attempt: int
    events: int
    reason: str
    may_be_stored: bool
    wait_s: float
    request_id: str


OnRetry = Callable[[Retry], None]


class Delivery(NamedTuple):
    """The result of sending a batch.

    Args:
        outcomes: the outcomes of its first events, in order; of all events without a failure.
        failure: why the other events have none; those behind the failure were not sent any more.
    """

    outcomes: list[Outcome]
    failure: PublishRefused | PublishGaveUp | None


async def publish_batch(
    session: aiohttp.ClientSession,
    url: str,
    batch: Sequence[EncodedEvent],
    *,
    policy: RetryPolicy,
    on_retry: OnRetry,
    give_up_at: float | None = None,
    credentials: Credentials = NO_CREDENTIALS,
) -> list[Outcome]:
    """Send a batch to an aggregator until it is durably stored.

    The aggregator stores a batch as one unit. If it finds the batch too large, the batch is sent in
    halves, one after the other, so that an event that is too large by itself is rejected alone.

    Args:
        session: the HTTP session to send it with.
        url: the aggregator's URL, without `/publish`.
        batch: the events, at least one.
        policy: the waits and deadlines of retries.
        on_retry: called before each wait. An exception that it raises ends the sending and is
            raised here.
        give_up_at: the deadline in seconds by the event loop's clock, by default
            `policy.deadline_s` from now.
        credentials: what is shown with each request.

    Returns:
        One outcome for each event, in the order of the batch.

    Raises:
        PublishRefused: another attempt would not change the response. Its `may_be_stored` is about
            the whole batch.
        PublishGaveUp: the deadline would pass before the next attempt. Its `may_be_stored` is about
            the whole batch.
    """
    if give_up_at is None:
        give_up_at = asyncio.get_running_loop().time() + policy.deadline_s
    outcomes, failure = await deliver(
        session,
        url,
        batch,
        policy=policy,
        on_retry=on_retry,
        give_up_at=give_up_at,
        credentials=credentials,
    )
    if failure is None:
        return outcomes
    if any(isinstance(outcome, Verdict) for outcome in outcomes):
        failure.may_be_stored = True
    raise failure


async def deliver(
    session: aiohttp.ClientSession,
    url: str,
    batch: Sequence[EncodedEvent],
    *,
    policy: RetryPolicy,
    on_retry: OnRetry,
    give_up_at: float,
    credentials: Credentials = NO_CREDENTIALS,
) -> Delivery:
    """Send a batch as `publish_batch` does, and return a failure beside the outcomes.

    Of a batch that had to be halved, one part may have been stored before another failed. All its
    attempts and parts have one request id.

    Args:
        session: as for `publish_batch`.
        url: as for `publish_batch`.
        batch: as for `publish_batch`.
        policy: as for `publish_batch`.
        on_retry: as for `publish_batch`.
        give_up_at: the deadline in seconds by the event loop's clock.
        credentials: as for `publish_batch`.

    Returns:
        The outcomes, and the failure if there was one.
    """
    request_id = uuid7()
    _log.debug("request id %s: %d events", request_id, len(batch))
    outcomes: list[Outcome] = []
    parts = [(batch, False)]
    while parts:
        part, may_be_stored = parts.pop()
        try:
            outcomes += await _until_answered(
                session,
                url,
                part,
                policy,
                on_retry,
                give_up_at,
                request_id,
                credentials,
                may_be_stored=may_be_stored,
            )
        except PublishRefused as error:
            if error.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                return Delivery(outcomes, error)
            if len(part) == 1:
                outcomes.append(EventRejected(error.detail))
                continue
            half = len(part) // 2
            parts += [(part[half:], error.may_be_stored), (part[:half], error.may_be_stored)]
        except PublishGaveUp as error:
            return Delivery(outcomes, error)
    return Delivery(outcomes, None)


async def _until_answered(
    session: aiohttp.ClientSession,
    url: str,
    batch: Sequence[EncodedEvent],
    policy: RetryPolicy,
    on_retry: OnRetry,
    give_up_at: float,
    request_id: str,
    credentials: Credentials,
    *,
    may_be_stored: bool,
) -> list[Outcome]:
    clock = asyncio.get_running_loop().time
    if clock() >= give_up_at:
        raise PublishGaveUp(0, policy.deadline_s, "it was never sent", may_be_stored)
    body = b"\n".join(event.line for event in batch)
    backoff = wait_random_exponential(multiplier=policy.first_wait_s, max=policy.max_wait_s)
    earlier_failure = ""

    def wait(state: RetryCallState) -> float:
        nonlocal may_be_stored
        failure = _failure_of(state)
        may_be_stored = may_be_stored or failure.may_be_stored
        return max(backoff(state), failure.retry_after_s)

    def stop(state: RetryCallState) -> bool:
        return clock() + state.upcoming_sleep >= give_up_at

    def before_wait(state: RetryCallState) -> None:
        nonlocal earlier_failure
        failure = _failure_of(state)
        earlier_failure = str(failure)
        on_retry(
            Retry(
                state.attempt_number,
                len(batch),
                earlier_failure,
                failure.may_be_stored,
                state.upcoming_sleep,
                request_id,
            )
        )

    async def attempt() -> list[Outcome]:
        timeout_s = min(policy.attempt_timeout_s, give_up_at - clock())
        return await attempt_once(session, url, body, batch, timeout_s, request_id, credentials)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(TransientFailure),
        wait=wait,
        stop=stop,
        before_sleep=before_wait,
    )
    try:
        return await retrying(attempt)
    except PublishRefused as error:
        error.request_id = request_id
        # An earlier attempt may have had no response; this error is about the last one alone.
        error.may_be_stored = may_be_stored or error.may_be_stored
        raise
    except RetryError as error:
        last = error.last_attempt.exception()
        reason = str(last)
        if isinstance(last, AttemptTimeout) and last.timeout_s < policy.attempt_timeout_s:
            # The deadline left that attempt no time: the failure before it says more.
            reason = earlier_failure or reason
        raise PublishGaveUp(
            error.last_attempt.attempt_number,
            policy.deadline_s,
            reason,
            may_be_stored,
            request_id,
        ) from last


def _failure_of(state: RetryCallState) -> TransientFailure:
    failure = state.outcome.exception() if state.outcome else None
    if not isinstance(failure, TransientFailure):
        raise TypeError(f"only a transient failure is retried, not {failure!r}")
    return failure
