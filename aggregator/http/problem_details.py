"""Errors as `application/problem+json` (RFC 9457): which status, in one place."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from aiohttp import web

from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.wire.errors import BodyTooSlow, InvalidRequest, WireError
from storage.errors import StorageError

RETRY_AFTER_S = 1
CONTENT_TYPE = "application/problem+json"


class NoSuchEvent(Exception):
    """No event with this dedup key is stored."""


# As RFC 9110 has them; Python's own phrases changed between its versions.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


class Problem(NamedTuple):
    """An answer that tells what went wrong."""

    status: HTTPStatus
    content: bytes
    headers: Mapping[str, str]

    def response(self) -> web.Response:
        """As aiohttp sends it."""
        return web.Response(
            body=self.content, status=self.status, headers=self.headers, content_type=CONTENT_TYPE
        )


def problem(error: Exception, request: web.BaseRequest) -> web.Response | None:
    """The answer that an error means; None for one that nobody foresaw."""
    foreseen = foreseen_problem(error)
    if foreseen is not None:
        return foreseen.response()
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{request.method} is not allowed here; use {allowed}"
        headers = {"Allow": allowed}
        return _problem(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers=headers).response()
    if isinstance(error, web.HTTPNotFound):
        return _problem(HTTPStatus.NOT_FOUND, "there is nothing at this path").response()
    if isinstance(error, web.HTTPException):
        return _problem(HTTPStatus(error.status), error.reason).response()
    return None


def foreseen_problem(error: Exception) -> Problem | None:
    """What an error of the aggregator means to who asked; None for any other."""
    if isinstance(error, WireError):
        errors = error.errors if isinstance(error, InvalidRequest) else []
        return _problem(error.status, str(error), errors=errors)
    if isinstance(error, (QueueFull, ShuttingDown, BodyTooSlow, StorageError)):
        return unavailable(f"{error}; send the request again later, that is always safe")
    if isinstance(error, NoSuchEvent):
        return _problem(HTTPStatus.NOT_FOUND, str(error))
    return None


def unavailable(detail: str) -> Problem:
    """A 503 that says when to come back."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)


def unforeseen() -> Problem:
    """The answer to a defect of the program; what it was is in the log, not here."""
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the aggregator failed; its log says why")


def _problem(
    status: HTTPStatus,
    detail: str,
    *,
    errors: object = None,
    headers: Mapping[str, str] | None = None,
) -> Problem:
    content: dict[str, object] = {
        "type": "about:blank",
        "title": _TITLES.get(status.value, status.phrase),
        "status": status.value,
        "detail": detail,
    }
    if errors:
        content["errors"] = errors
    return Problem(status, msgspec.json.encode(content), headers or {})
