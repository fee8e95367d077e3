"""What is wrong with a request, as types, each with the status of its answer."""

from http import HTTPStatus
from typing import ClassVar

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One broken rule: the event's place in the request from 0, the field ("" for the event
    as a whole), and a sentence about it."""

    index: int
    field: str
    message: str


class WireError(Exception):
    """A request that can't be taken; the message is one sentence for its sender."""

    status: ClassVar[HTTPStatus] = HTTPStatus.BAD_REQUEST


class MalformedBody(WireError):
    """The body is not JSON, not UTF-8, or its compression is broken or cut short."""


class TooLarge(WireError):
    """The body, the number of its events, or one of its payloads is over its limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class InvalidRequest(WireError):
    """An event or a query parameter breaks a rule.

    Args:
        errors: the broken rules, at most as many as are worth telling.
    """

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, message: str, errors: list[FieldError] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or []


class BodyTooSlow(Exception):
    """The body did not arrive in time; another try may be faster, so this is no fault of it."""


class UnsupportedMediaType(WireError):
    """A media type, charset or content encoding other than those the contract names."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
