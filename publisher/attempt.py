"""One try: a request, its answer, and what every other end of it means."""

import errno
import io
import math
import os
from collections.abc import Sequence
from http import HTTPStatus

import aiohttp

from publisher.errors import PublishRefused, TlsError
from publisher.events import EncodedEvent
from publisher.refusals import one_line, reason_of, retry_after_s
from publisher.response import AnswerCutShort, Outcome, read_outcomes
from publisher.tls import lasting_tls_fault
from publisher.user_agent import USER_AGENT

_TRIED_AGAIN = frozenset(
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


class TryAgain(Exception):
    """A try failed for a reason that may pass; the message is one sentence.

    retry_after_s: what the answer asks to wait at least, in seconds. may_be_stored: False if the
    try cannot have reached the aggregator's store.
    """

    def __init__(
        self, failure: str, retry_after_s: float = 0.0, *, may_be_stored: bool = True
    ) -> None:
        asked = f" (Retry-After: {retry_after_s:g} s)" if retry_after_s else ""
        super().__init__(failure + asked)
        self.retry_after_s = retry_after_s
        self.may_be_stored = may_be_stored


class NoAnswer(TryAgain):
    """Nothing came within the time for one try."""

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
) -> list[Outcome]:
    """Send the body of a batch once; gives an outcome for each event.

    url: of the aggregator, without `/publish`. timeout_s: for all of it, may be `math.inf`.
    request_id: sent as `X-Request-ID`.

    Raises TryAgain for what may pass, PublishRefused for what another try would not change, of
    which TlsError is one.
    """
    timeout_s = max(timeout_s, _SHORTEST_TIMEOUT_S)
    try:
        async with session.post(
            f"{url.rstrip('/')}/publish",
            data=io.BytesIO(body),
            headers=_HEADERS | {"X-Request-ID": request_id},
            timeout=aiohttp.ClientTimeout(total=None if timeout_s == math.inf else timeout_s),
            # Followed, a POST would become a GET and the batch would be gone.
            allow_redirects=False,
        ) as response:
            answer = await _read(response, _ANSWER_BYTES + _ANSWER_BYTES_PER_EVENT * len(batch))
    except TimeoutError as error:
        raise NoAnswer(timeout_s) from error
    except (aiohttp.ClientError, OSError, UnicodeError) as error:
        raise _failure_of(error, url) from error
    if response.status == HTTPStatus.OK:
        try:
            return read_outcomes(answer, batch)
        except AnswerCutShort as error:
            raise TryAgain("the answer was cut short") from error
    reason = reason_of(response, answer)
    if response.status in _TRIED_AGAIN:
        raise TryAgain(f"{response.status} {reason}", retry_after_s(response))
    # Redirected or refused it got nowhere; who knows after anything else.
    raise PublishRefused(response.status, reason, not 300 <= response.status < 500)


def _failure_of(error: Exception, url: str) -> TryAgain | PublishRefused:
    """Give what a request that ended without an answer means."""
    if isinstance(error, aiohttp.ClientConnectionError) and (fault := lasting_tls_fault(error)):
        return TlsError(None, fault, may_be_stored=False)
    match error:
        case aiohttp.ClientConnectorError():
            failure = f"cannot connect to {error.host}:{error.port}: {connect_reason(error)}"
            return TryAgain(failure, may_be_stored=False)
        case aiohttp.ClientPayloadError():
            return TryAgain("the answer was cut short")
        case aiohttp.ClientConnectionError() | OSError():
            return TryAgain(f"the connection was lost: {_loss(error)}")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | UnicodeError():
            detail = one_line(f"not the URL of an aggregator: {url!r}")
            return PublishRefused(None, detail, may_be_stored=False)
    # Without its URL, which may hold a password.
    told = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return PublishRefused(None, f"the answer is not HTTP: {one_line(told)}")


async def _read(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """Read the answer, but no more than it can be: its sender may be anything."""
    answer = bytearray()
    while len(answer) <= most_bytes and (chunk := await response.content.readany()):
        answer += chunk
    return bytes(answer)


def _loss(error: Exception) -> str:
    if not isinstance(error, OSError):
        return one_line(str(error))
    # Without a number it is aiohttp's own, and names the URL in place of a reason.
    return one_line(error.strerror or "") if error.errno else "the request could not be written"


def connect_reason(error: aiohttp.ClientConnectorError) -> str:
    """Give the reason why there is no connection, a few words."""
    cause = error.os_error
    if type(cause) is ConnectionRefusedError:
        # asyncio's own text repeats the address and leaves out the reason.
        return os.strerror(errno.ECONNREFUSED)
    return one_line(cause.strerror or str(cause)) or "the connection was closed"
