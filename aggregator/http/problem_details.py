"""Problem details (RFC 9457): the answer that each error means, in one place."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import msgspec
import structlog
from aiohttp import web

from aggregator.access.authority import Reason, Unauthorized
from aggregator.access.errors import Forbidden, OverLimit
from aggregator.http.rate_limit_headers import rate_limit_headers
from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.request_context import RequestContext
from aggregator.subscriptions.errors import SubscriptionRefused
from aggregator.wire.errors import BodyTooSlow, InvalidRequest, WireError
from storage.errors import StorageError

RETRY_AFTER_S = 1
CONTENT_TYPE = "application/problem+json"
_REALM = "aggregator"

_log = structlog.get_logger()


class NoSuchEvent(Exception):
    """No event with this dedup key is stored."""


# As RFC 9110 has them; Python's own phrases changed between its versions.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


class Problem(NamedTuple):
    """An answer that says what went wrong."""

    status: HTTPStatus
    content: bytes
    headers: Mapping[str, str]

    def response(self) -> web.Response:
        """Return it as a response of aiohttp."""
        return web.Response(
            body=self.content, status=self.status, headers=self.headers, content_type=CONTENT_TYPE
        )


def http_problem(error: Exception, method: str) -> Problem | None:
    """Return the answer that an error of aiohttp's routing means; None for any other error."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{method} is not allowed here; use {allowed}"
        return _problem(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return _problem(HTTPStatus.NOT_FOUND, "there is nothing at this path")
    if isinstance(error, web.HTTPException):
        return _problem(HTTPStatus(error.status), error.reason)
    return None


def foreseen_problem(error: Exception) -> Problem | None:
    """Return the answer that an error of the aggregator means; None for any other error."""
    if isinstance(error, WireError):
        errors = error.errors if isinstance(error, InvalidRequest) else []
        return _problem(error.status, str(error), errors=errors)
    if isinstance(error, (QueueFull, ShuttingDown, BodyTooSlow, StorageError)):
        return unavailable(f"{error}; send the request again later, that is always safe")
    if isinstance(error, Unauthorized):
        return _unauthorized(error)
    if isinstance(error, Forbidden):
        return _problem(HTTPStatus.FORBIDDEN, str(error), errors=error.errors)
    if isinstance(error, OverLimit):
        headers = {"Retry-After": str(error.retry_after_s), **rate_limit_headers(error)}
        return _problem(HTTPStatus.TOO_MANY_REQUESTS, str(error), headers=headers)
    if isinstance(error, SubscriptionRefused):
        return _problem(error.status, str(error), code=error.code)
    if isinstance(error, NoSuchEvent):
        return _problem(HTTPStatus.NOT_FOUND, str(error))
    return None


def _unauthorized(error: Unauthorized) -> Problem:
    challenge = f'Bearer realm="{_REALM}"'
    if error.reason is not Reason.MISSING:
        # RFC 6750, 3.1: without a credential there is no error to tell.
        challenge += f', error="invalid_token", error_description="{_quotable(str(error))}"'
    headers = {"WWW-Authenticate": challenge}
    return _problem(HTTPStatus.UNAUTHORIZED, str(error), headers=headers)


def _quotable(sentence: str) -> str:
    """Return a sentence in the characters that RFC 6750 lets stand between quotes."""
    return "".join(
        "'" if each in '"\\' else each if " " <= each <= "~" else "?" for each in sentence
    )


def unavailable(detail: str) -> Problem:
    """Return a 503 that says when to come back."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)


def unforeseen_problem(error: Exception, context: RequestContext) -> Problem:
    """Log an error that is a defect of the program, and return its answer, which says nothing."""
    _log.error("request_failed", exc_info=error, **context.log_fields)
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the aggregator failed; its log says why")


def _problem(
    status: HTTPStatus,
    detail: str,
    *,
    errors: object = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Problem:
    content: dict[str, object] = {
        "type": "about:blank",
        "title": _TITLES.get(status.value, status.phrase),
        "status": status.value,
        "detail": detail,
    }
    if code is not None:
        content["code"] = code
    if errors:
        content["errors"] = errors
    return Problem(status, msgspec.json.encode(content), headers or {})
