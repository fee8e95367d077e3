"""Errors as `application/problem+json` (RFC 9457): which status, in one place."""

from http import HTTPStatus

import msgspec
from aiohttp import web

from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.wire.errors import (
    BodyTooSlow,
    InvalidRequest,
    MalformedBody,
    TooLarge,
    UnsupportedMediaType,
    WireError,
)
from storage.errors import StorageError

RETRY_AFTER_S = 1
CONTENT_TYPE = "application/problem+json"


class NoSuchEvent(Exception):
    """No event with this dedup key is stored."""


# As RFC 9110 has them; Python's own phrases changed between its versions.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}

_WIRE_STATUS: dict[type[WireError], HTTPStatus] = {
    MalformedBody: HTTPStatus.BAD_REQUEST,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
}


def problem(error: Exception, request: web.BaseRequest) -> web.Response | None:
    """The answer that an error means; None for one that nobody foresaw."""
    if isinstance(error, WireError):
        errors = error.errors if isinstance(error, InvalidRequest) else []
        return _answer(_WIRE_STATUS[type(error)], str(error), errors=errors)
    if isinstance(error, (QueueFull, ShuttingDown, BodyTooSlow, StorageError)):
        return unavailable(_again_later(error))
    if isinstance(error, NoSuchEvent):
        return _answer(HTTPStatus.NOT_FOUND, str(error))
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{request.method} is not allowed here; use {allowed}"
        return _answer(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return _answer(HTTPStatus.NOT_FOUND, "there is nothing at this path")
    if isinstance(error, web.HTTPException):
        return _answer(HTTPStatus(error.status), error.reason)
    return None


def unavailable(detail: str) -> web.Response:
    """A 503 that says when to come back."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return _answer(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)


def refusal(error: QueueFull | ShuttingDown | StorageError) -> bytes:
    """The content of the 503 that an error means."""
    return _content(HTTPStatus.SERVICE_UNAVAILABLE, _again_later(error))


def unforeseen() -> web.Response:
    """The answer to a defect of the program; what it was is in the log, not here."""
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "the aggregator failed; its log says why")


def _answer(
    status: HTTPStatus,
    detail: str,
    *,
    errors: object = None,
    headers: dict[str, str] | None = None,
) -> web.Response:
    return web.Response(
        body=_content(status, detail, errors),
        status=status,
        headers=headers,
        content_type=CONTENT_TYPE,
    )


def _again_later(error: Exception) -> str:
    return f"{error}; send the request again later, that is always safe"


def _content(status: HTTPStatus, detail: str, errors: object = None) -> bytes:
    content: dict[str, object] = {
        "type": "about:blank",
        "title": _TITLES.get(status.value, status.phrase),
        "status": status.value,
        "detail": detail,
    }
    if errors:
        content["errors"] = errors
    return msgspec.json.encode(content)
