"""One batch to an aggregator, at least once: sent until it is answered for, or refused.

Sending again is always safe, since an aggregator knows the events by their ids. So whatever may
pass is tried again (no connection, no answer in time, half an answer, a busy aggregator), and what
the next try would not change is an error at once.
"""

import asyncio
import errno
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp
import msgspec
from tenacity import AsyncRetrying, RetryCallState, RetryError, retry_if_exception_type
from tenacity.stop import stop_before_delay
from tenacity.wait import wait_random_exponential

_TRIED_AGAIN = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_HEADERS = {"Content-Type": "application/x-ndjson", "Prefer": "return=minimal"}
_SHORTEST_TIMEOUT_S = 0.001  # aiohttp takes 0 for "no timeout"
_QUOTED_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a batch is tried again, all in seconds.

    The wait before retry n is drawn between 0 and `first_wait_s * 2**(n-1)`, at most `max_wait_s`
    (exponential backoff with full jitter), and is never shorter than the `Retry-After` of the
    answer. `deadline_s` is for all tries of one batch, waits included; `attempt_timeout_s` is for
    one try.
    """

    first_wait_s: float = 0.1
    max_wait_s: float = 10.0
    deadline_s: float = 300.0
    attempt_timeout_s: float = 60.0


class Counts(msgspec.Struct, frozen=True):
    """What an aggregator answers to a batch. Conflicts are part of the duplicates dropped."""

    received: int
    unique_processed: int
    duplicate_dropped: int
    conflicts: int


class PublishRefused(Exception):
    """The batch was refused, or answered by something else than an aggregator.

    status: that of the answer, None when it was not HTTP. detail: the reason, one sentence.
    """

    def __init__(self, status: int | None, detail: str) -> None:
        answered = "the answer is not HTTP" if status is None else f"the answer is {status}"
        super().__init__(f"{answered}: {detail}")
        self.status = status
        self.detail = detail


class PublishGaveUp(Exception):
    """The deadline of a batch passed; it may or may not have been stored.

    attempts: how often it was sent. last_failure: why the last try failed, one sentence.
    """

    def __init__(self, attempts: int, deadline_s: float, last_failure: str) -> None:
        tries = "1 try" if attempts == 1 else f"{attempts:,} tries"
        super().__init__(
            f"gave up after {tries} (deadline: {deadline_s:g} s), the last failure: {last_failure}"
        )
        self.attempts = attempts
        self.last_failure = last_failure


class _TryAgain(Exception):
    def __init__(self, failure: str, retry_after_s: float = 0.0) -> None:
        asked = f" (Retry-After: {retry_after_s:,.0f} s)" if retry_after_s else ""
        super().__init__(failure + asked)
        self.retry_after_s = retry_after_s


class _NoAnswer(_TryAgain):
    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no answer within {timeout_s:.3g} s")
        self.timeout_s = timeout_s


class _FieldError(msgspec.Struct):
    index: int | None = None
    field: str | None = None
    message: str = ""


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""
    errors: list[_FieldError] = []


async def publish_batch(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    event_count: int,
    *,
    policy: RetryPolicy,
    on_retry: Callable[[str], None],
) -> Counts:
    """Send a batch to an aggregator until it is durably stored.

    url: of the aggregator, without `/publish`.
    body: newline-delimited JSON, one event a line, of `event_count` events.
    on_retry: called before each wait with the reason, one sentence.

    Raises PublishRefused for an answer that another try would not change, PublishGaveUp when the
    deadline would pass before the next try.
    """
    clock = asyncio.get_running_loop().time
    give_up_at = clock() + policy.deadline_s
    backoff = wait_random_exponential(multiplier=policy.first_wait_s, max=policy.max_wait_s)

    def wait(state: RetryCallState) -> float:
        return max(backoff(state), _failure_of(state).retry_after_s)

    earlier_failure = ""

    def before_wait(state: RetryCallState) -> None:
        nonlocal earlier_failure
        earlier_failure = str(_failure_of(state))
        on_retry(earlier_failure)

    async def attempt() -> Counts:
        timeout_s = min(policy.attempt_timeout_s, give_up_at - clock())
        return await _attempt(session, url, body, event_count, timeout_s)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(_TryAgain),
        wait=wait,
        stop=stop_before_delay(policy.deadline_s),
        before_sleep=before_wait,
    )
    try:
        return await retrying(attempt)
    except RetryError as error:
        last = error.last_attempt.exception()
        failure = str(last)
        if isinstance(last, _NoAnswer) and last.timeout_s < policy.attempt_timeout_s:
            # The deadline left that try no time: what failed before it tells people more.
            failure = earlier_failure or failure
        attempts = error.last_attempt.attempt_number
        raise PublishGaveUp(attempts, policy.deadline_s, failure) from last


def _failure_of(state: RetryCallState) -> _TryAgain:
    failure = state.outcome.exception() if state.outcome else None
    if not isinstance(failure, _TryAgain):
        raise TypeError(f"only a failure that may pass is tried again, not {failure!r}")
    return failure


async def _attempt(
    session: aiohttp.ClientSession, url: str, body: bytes, event_count: int, timeout_s: float
) -> Counts:
    timeout_s = max(timeout_s, _SHORTEST_TIMEOUT_S)
    try:
        async with session.post(
            f"{url.rstrip('/')}/publish",
            data=io.BytesIO(body),
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            # Followed, a POST would become a GET and the batch would be gone.
            allow_redirects=False,
        ) as response:
            answer = await response.read()
    except TimeoutError as error:
        raise _NoAnswer(timeout_s) from error
    except aiohttp.ClientConnectorError as error:
        raise _TryAgain(_connect_failure(error)) from error
    except aiohttp.ClientConnectionError as error:
        raise _TryAgain(f"the connection was lost: {error}") from error
    except aiohttp.ClientPayloadError as error:
        raise _TryAgain("the answer was cut short") from error
    except aiohttp.ClientError as error:
        raise PublishRefused(None, _one_line(str(error))) from error
    if response.status == HTTPStatus.OK:
        return _counts(answer, event_count)
    reason = _reason(response, answer)
    if response.status in _TRIED_AGAIN:
        raise _TryAgain(f"{response.status} {reason}", _retry_after_s(response))
    raise PublishRefused(response.status, reason)


def _connect_failure(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    if type(cause) is ConnectionRefusedError:
        # asyncio's own text repeats the address and leaves out the reason.
        reason = os.strerror(errno.ECONNREFUSED)
    else:
        reason = _one_line(cause.strerror or str(cause))
    return f"cannot connect to {error.host}:{error.port}: {reason}"


def _counts(answer: bytes, event_count: int) -> Counts:
    try:
        counts = msgspec.json.decode(answer, type=Counts)
    except msgspec.ValidationError as error:
        raise PublishRefused(HTTPStatus.OK, f"not that of an aggregator ({error})") from error
    except msgspec.DecodeError as error:
        # Without Content-Length only the JSON itself tells that its end is missing.
        if not answer or answer.startswith(b"{"):
            raise _TryAgain("the answer was cut short") from error
        raise PublishRefused(HTTPStatus.OK, "not that of an aggregator (no JSON)") from error
    if counts.received != event_count:
        raise PublishRefused(
            HTTPStatus.OK, f"{counts.received:,} events received, but {event_count:,} were sent"
        )
    return counts


def _reason(response: aiohttp.ClientResponse, answer: bytes) -> str:
    phrase = response.reason or "no reason given"
    if location := response.headers.get("Location"):
        return _one_line(f"{phrase}, moved to {location}")
    try:
        problem = msgspec.json.decode(answer, type=_Problem)
    except msgspec.DecodeError:
        # Not the aggregator's own: a proxy's page of HTML tells people less than the phrase.
        text = answer.decode(errors="replace") if response.content_type == "text/plain" else ""
        return _one_line(text) or phrase
    reason = _one_line(problem.detail or problem.title) or phrase
    if problem.errors:
        first = problem.errors[0]
        named = "" if first.index is None else f"event {first.index} of the batch, "
        field = f"{first.field}: " if first.field else ""
        reason += _one_line(f" ({named}{field}{first.message})", start=" ")
    return reason


def _one_line(text: str, start: str = "") -> str:
    words = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
    cut = words if len(words) <= _QUOTED_CHARACTERS else f"{words[:_QUOTED_CHARACTERS]}…"
    return start + cut if cut else ""


def _retry_after_s(response: aiohttp.ClientResponse) -> float:
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0  # absent, or not a form that RFC 9110 knows: the backoff alone decides
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
