"""One batch to an aggregator, at least once: sent until it is answered for, or refused.

Sending again is always safe, since an aggregator knows the events by their ids. So whatever may
pass is tried again (no connection, no answer in time, half an answer, a busy aggregator), and what
the next try would not change is an error at once.
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

from publisher.attempt import NoAnswer, TryAgain, attempt_once
from publisher.errors import EventRejected, PublishGaveUp, PublishRefused
from publisher.events import EncodedEvent
from publisher.ids import uuid7
from publisher.response import Outcome, Verdict

_log = logging.getLogger("publisher")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a batch is tried again, all in seconds.

    The wait before retry n is drawn between 0 and `first_wait_s * 2**(n-1)`, at most `max_wait_s`
    (exponential backoff with full jitter), and is never shorter than the `Retry-After` of the
    answer. `deadline_s` is for all tries together, waits included; `attempt_timeout_s` is for one
    try. Either may be `math.inf`.
    """

    first_wait_s: float = 0.1
    max_wait_s: float = 10.0
    deadline_s: float = 300.0
    attempt_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        """Raise ValueError, one sentence, for what can't be waited."""
        for name in ("first_wait_s", "max_wait_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be finite and 0 or more, not {getattr(self, name)!r}"
                )
        for name in ("deadline_s", "attempt_timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")


class Retry(NamedTuple):
    """A try that failed and is followed by another.

    attempt: which try of the request it was, from 1. events: how many it held.
    reason: why it failed, one sentence.
    may_be_stored: False if the try cannot have reached the aggregator's store.
    wait_s: seconds until the next try.
    request_id: the `X-Request-ID` that all tries have, by which the aggregator's log has them.
    """

    attempt: int
    events: int
    reason: str
    may_be_stored: bool
    wait_s: float
    request_id: str


OnRetry = Callable[[Retry], None]


class Delivery(NamedTuple):
    """What became of a batch.

    outcomes: of its first events, in order; of all of them when there is no failure.
    failure: why the others have none; what follows it in the batch was not sent any further.
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
) -> list[Outcome]:
    """Send a batch to an aggregator until it is durably stored; gives an outcome for each event.

    url: of the aggregator, without `/publish`.
    batch: at least one event. The aggregator takes it as one unit, unless it finds it too large:
    then it is sent in halves, one after the other, so that an event that is too large by itself is
    rejected alone.
    on_retry: called before each wait; what it raises ends the sending and is raised here.
    give_up_at: the deadline, by the event loop's clock; without it, `policy.deadline_s` from now.

    Raises PublishRefused for an answer that another try would not change, PublishGaveUp when the
    deadline would pass before the next try. `may_be_stored` then speaks of the whole batch.
    """
    if give_up_at is None:
        give_up_at = asyncio.get_running_loop().time() + policy.deadline_s
    outcomes, failure = await deliver(
        session, url, batch, policy=policy, on_retry=on_retry, give_up_at=give_up_at
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
) -> Delivery:
    """Send a batch as `publish_batch` does; gives what became of it, also when that is a failure.

    Of a batch that had to be halved a part may have been stored before another failed. All its
    tries and parts have one request id.
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
        return await attempt_once(session, url, body, batch, timeout_s, request_id)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(TryAgain), wait=wait, stop=stop, before_sleep=before_wait
    )
    try:
        return await retrying(attempt)
    except PublishRefused as error:
        error.request_id = request_id
        # An earlier try may have had no answer; this one speaks of itself alone.
        error.may_be_stored = may_be_stored or error.may_be_stored
        raise
    except RetryError as error:
        last = error.last_attempt.exception()
        reason = str(last)
        if isinstance(last, NoAnswer) and last.timeout_s < policy.attempt_timeout_s:
            # The deadline left that try no time: what failed before it tells people more.
            reason = earlier_failure or reason
        raise PublishGaveUp(
            error.last_attempt.attempt_number,
            policy.deadline_s,
            reason,
            may_be_stored,
            request_id,
        ) from last


def _failure_of(state: RetryCallState) -> TryAgain:
    failure = state.outcome.exception() if state.outcome else None
    if not isinstance(failure, TryAgain):
        raise TypeError(f"only a failure that may pass is tried again, not {failure!r}")
    return failure
