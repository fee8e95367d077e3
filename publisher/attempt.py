"""A single attempt to send a batch: the request, its response, and how each failure is classed."""

import errno
import io
import math
import os
from collections.abc import Sequence
from http import HTTPStatus

import aiohttp

from publisher.credentials import NO_CREDENTIALS, Credentials
from publisher.errors import PublishRefused, TlsError
from publisher.events import EncodedEvent
from publisher.refusals import one_line, reason_of, retry_after_s
from publisher.response import Outcome, TruncatedResponse, read_outcomes
from publisher.tls import lasting_tls_fault
from publisher.tokens import CredentialsInvalid, TokenUnavailable
from publisher.user_agent import USER_AGENT

_RETRIED_STATUSES = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
# An event that breaks a rule must not cost its neighbours anything.
_HEADERS = {
    "Content-Type": "application/x-ndjson",
    "Prefer": "handling=lenient",
    "User-Agent": USER_AGENT,
}
_SHORTEST_TIMEOUT_S = 0.001  # aiohttp takes 0 for "no timeout"
# Far above what an aggregator answers: a result repeats the two names of its event.
_ANSWER_BYTES, _ANSWER_BYTES_PER_EVENT = 64 * 1024, 8 * 1024


class TransientFailure(Exception):
    """An attempt failed for a reason that may pass; the message is one sentence.

    Args:
        failure: the sentence.
        retry_after_s: the least wait that the response asks for, in seconds.
        may_be_stored: False if the attempt cannot have reached the aggregator's store.
    """

    def __init__(
        self, failure: str, retry_after_s: float = 0.0, *, may_be_stored: bool = True
    ) -> None:
        wait = f" (Retry-After: {retry_after_s:g} s)" if retry_after_s else ""
        super().__init__(failure + wait)
        self.retry_after_s = retry_after_s
        self.may_be_stored = may_be_stored


class AttemptTimeout(TransientFailure):
    """No response came within the time for one attempt.

    Args:
        timeout_s: that time, in seconds.
    """

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no answer within {timeout_s:.3g} s")
        self.timeout_s = timeout_s


async def attempt_once(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    batch: Sequence[EncodedEvent],
    timeout_s: float,
    request_id: str,
    credentials: Credentials = NO_CREDENTIALS,
) -> list[Outcome]:
    """Send the body of a batch once.

    Args:
        session: the HTTP session to send it with.
        url: the aggregator's URL, without `/publish`.
        body: the batch as NDJSON.
        batch: the events in the body, to check the response against.
        timeout_s: the time for the whole request in seconds, possibly `math.inf`.
        request_id: the value of `X-Request-ID`.
        credentials: what is shown with it.

    Returns:
        One outcome for each event, in the order of the batch.

    Raises:
        TransientFailure: the reason may pass, so another attempt may succeed.
        PublishRefused: another attempt would not change the result; TlsError is one of these.
    """
    timeout_s = max(timeout_s, _SHORTEST_TIMEOUT_S)
    try:
        presented = credentials.present()
    except TokenUnavailable as error:
        raise TransientFailure(str(error), may_be_stored=False) from error
    except CredentialsInvalid as error:
        raise PublishRefused(None, str(error), may_be_stored=False) from error
    try:
        async with session.post(
            f"{url.rstrip('/')}/publish",
            data=io.BytesIO(body),
            headers={**_HEADERS, **presented.headers, "X-Request-ID": request_id},
            timeout=aiohttp.ClientTimeout(total=None if timeout_s == math.inf else timeout_s),
            # Followed, a POST would become a GET and the batch would be gone.
            allow_redirects=False,
        ) as response:
            answer = await _read(response, _ANSWER_BYTES + _ANSWER_BYTES_PER_EVENT * len(batch))
    except TimeoutError as error:
        raise AttemptTimeout(timeout_s) from error
    except (aiohttp.ClientError, OSError, UnicodeError) as error:
        raise _failure_of(error, url) from error
    if response.status == HTTPStatus.OK:
        try:
            return read_outcomes(answer, batch)
        except TruncatedResponse as error:
            raise TransientFailure("the answer was cut short") from error
    reason = reason_of(response, answer, hide=presented.hide)
    if response.status in _RETRIED_STATUSES:
        raise TransientFailure(f"{response.status} {reason}", retry_after_s(response))
    refusal = presented.refusal(response.status, reason)
    if refusal.may_pass:
        raise TransientFailure(f"{response.status} {refusal.reason}", may_be_stored=False)
    # Redirected or refused it got nowhere; who knows after anything else.
    raise PublishRefused(response.status, refusal.reason, not 300 <= response.status < 500)


def _failure_of(error: Exception, url: str) -> TransientFailure | PublishRefused:
    """Class the failure of a request that ended without a response."""
    if isinstance(error, aiohttp.ClientConnectionError) and (fault := lasting_tls_fault(error)):
        return TlsError(None, fault, may_be_stored=False)
    match error:
        case aiohttp.ClientConnectorError():
            failure = f"cannot connect to {error.host}:{error.port}: {connect_reason(error)}"
            return TransientFailure(failure, may_be_stored=False)
        case aiohttp.ClientPayloadError():
            return TransientFailure("the answer was cut short")
        case aiohttp.ClientConnectionError() | OSError():
            return TransientFailure(f"the connection was lost: {loss_reason(error)}")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | UnicodeError():
            detail = one_line(f"not the URL of an aggregator: {url!r}")
            return PublishRefused(None, detail, may_be_stored=False)
    # Without its URL, which may hold a password.
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return PublishRefused(None, f"the answer is not HTTP: {one_line(text)}")


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Read the body of a response, bounded, since its sender may be anything."""
    answer = bytearray()
    while len(answer) <= max_bytes and (chunk := await response.content.readany()):
        answer += chunk
    return bytes(answer)


def loss_reason(error: Exception) -> str:
    """Return the reason why a connection was lost, in a few words."""
    if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
        return "the server hung up"  # in the head of its answer, which would be shown otherwise
    if not isinstance(error, OSError):
        return one_line(str(error))
    # Without a number it is aiohttp's own, and names the URL in place of a reason.
    return one_line(error.strerror or "") if error.errno else "the request could not be written"


def connect_reason(error: aiohttp.ClientConnectorError) -> str:
    """Return the reason why a connection failed, in a few words."""
    cause = error.os_error
    if type(cause) is ConnectionRefusedError:
        # asyncio's own text repeats the address and leaves out the reason.
        return os.strerror(errno.ECONNREFUSED)
    return one_line(cause.strerror or str(cause)) or "the connection was closed"
