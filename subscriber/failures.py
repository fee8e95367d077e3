"""Failures of requests, each as a sentence, and whether another attempt may succeed."""

from typing import NamedTuple

import aiohttp
from yarl import URL

from publisher.attempt import connect_reason, loss_reason
from publisher.refusals import one_line
from publisher.tls import lasting_tls_fault


class Failure(NamedTuple):
    """A failure of a request.

    Args:
        sentence: what failed, one sentence.
        may_pass: whether another attempt may succeed.
    """

    sentence: str
    may_pass: bool


def failure_of(error: Exception, url: URL, what: str) -> Failure:
    """Class the failure of a request, or of reading its answer.

    Args:
        error: what aiohttp or the operating system raised; a TimeoutError is left to the caller.
        url: of the request, which is named without what may be secret of it.
        what: what was cut off, if it was: `answer` or `stream`.
    """
    if isinstance(error, aiohttp.ClientConnectionError) and (fault := lasting_tls_fault(error)):
        return Failure(fault, may_pass=False)
    match error:
        case aiohttp.ClientConnectorError():
            where = f"{error.host}:{error.port}"
            return Failure(f"cannot connect to {where}: {connect_reason(error)}", may_pass=True)
        case aiohttp.ClientPayloadError():
            return Failure(f"the {what} was cut off", may_pass=True)
        case aiohttp.ClientConnectionError() | OSError():
            return Failure(f"the connection was lost: {loss_reason(error)}", may_pass=True)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | UnicodeError():
            shown = str(url.with_user(None).with_query(None))
            return Failure(one_line(f"not the URL of an aggregator: {shown!r}"), may_pass=False)
    # Without its URL, which may hold a password.
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return Failure(f"the answer is not HTTP: {one_line(text)}", may_pass=False)
