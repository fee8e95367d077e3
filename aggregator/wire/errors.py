"""The errors of a request, each with the status of its response."""

from http import HTTPStatus
from typing import ClassVar

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """A rule that an event or a parameter breaks.

    Args:
        index: the event's place in the request, from 0.
        field: the field, "" for the event as a whole.
        message: the rule as a clause that follows the name of the field.
    """

    index: int
    field: str
    message: str


class WireError(Exception):
    """A request is refused; the message is one sentence for its sender."""

    status: ClassVar[HTTPStatus] = HTTPStatus.BAD_REQUEST


class MalformedBody(WireError):
    """The body is not JSON or not UTF-8, or its compression is broken or cut short."""


class TooLarge(WireError):
    """The body, the number of its events, or one of its payloads is over its limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class InvalidRequest(WireError):
    """An event or a query parameter breaks a rule.

    Args:
        message: the sentence.
        errors: the broken rules, bounded in number.
    """

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, message: str, errors: list[FieldError] | None = None) -> None:
        super().__init__(message)
        self.errors = errors or []


class BodyTooSlow(Exception):
    """The body did not arrive in time. A retry may be faster, so the request is not at fault."""


class UnsupportedMediaType(WireError):
    """The media type, charset or content encoding is not one of the contract."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
