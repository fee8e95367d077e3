"""The exact reader of a small JSON object: its members, and every rule that they break.

The decoders of msgspec are many times faster, and say less: a request that they refuse is read
here.
"""

import json
from collections.abc import Collection, Mapping
from typing import NoReturn

from aggregator.wire.errors import FieldError, InvalidRequest, MalformedBody

MAX_REPORTED_ERRORS = 100

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_DIGITS = 30
_SHOWN = 64
_MISSING = object()
_TYPES: dict[type, str] = {
    str: "a string",
    dict: "an object",
    list: "an array",
    bool: "a boolean",
    type(None): "null",
    float: "a number that is not whole",
}


def parse_object(body: bytes) -> dict[str, object]:
    """Parse a body that is one JSON object.

    One byte order mark at the beginning is skipped (RFC 8259, 8.1). Strings may have lone
    surrogates; of a name that is repeated, the last counts.

    Raises:
        MalformedBody: it is empty, not UTF-8, or not JSON.
        InvalidRequest: it is no object, or nests deeper than any request does.
    """
    if not body:
        raise MalformedBody("the body is empty; send a JSON object")
    try:
        text = body.removeprefix(_BYTE_ORDER_MARK).decode()
        value = json.loads(text, parse_int=_whole_number, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not JSON: not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise InvalidRequest("the body nests deeper than any request of subscriptions") from error
    except ValueError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body must be an object, not {kind_of_value(value)}")
    return value


def _whole_number(digits: str) -> int | float:
    # Python refuses to convert thousands of digits, which are a number all the same.
    return int(digits) if len(digits) <= _MAX_DIGITS else float("inf")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def kind_of_value(value: object) -> str:
    """Return the type of a JSON value, for the sentence of an error."""
    if value in (float("inf"), float("-inf")):
        return "a number that is too large"
    return _TYPES.get(type(value), "a number")


def shown(value: object) -> str:
    """Return a JSON value, cut if it is long, for the sentence of an error."""
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "…")
    if type(value) is int:
        return str(value)
    return kind_of_value(value)


class FieldCheck:
    """Reads the members of an object and collects the rules that they break.

    Args:
        members: of the object.
        errors: where to collect; those of several objects may go to the same list.
        index: the place of the object in the request, for the errors.
        within: what goes ahead of the names of its members in errors, such as `retry.`.
    """

    def __init__(
        self,
        members: Mapping[str, object],
        errors: list[FieldError] | None = None,
        index: int = 0,
        within: str = "",
    ) -> None:
        self.members = members
        self.errors = [] if errors is None else errors
        self._index = index
        self._within = within

    def add_error(self, name: str, message: str) -> None:
        """Record that a member breaks a rule."""
        self.add_error_at(self._index, name, message)

    def add_error_at(self, index: int, name: str, message: str) -> None:
        """Record that an entry of a member breaks a rule.

        Args:
            index: the place of the entry.
            name: of the member.
            message: the rule as a clause that follows the name.
        """
        error = FieldError(index, self._within + name, message)
        if len(self.errors) < MAX_REPORTED_ERRORS and error not in self.errors:
            self.errors.append(error)

    def finish(self, what: str = "the request is invalid") -> None:
        """Refuse the request if a rule is broken.

        Args:
            what: the beginning of the sentence.

        Raises:
            InvalidRequest: with every broken rule, bounded in number.
        """
        if self.errors:
            first = self.errors[0]
            raise InvalidRequest(f"{what}: {first.field} {first.message}", self.errors)

    def only(self, known: Collection[str]) -> None:
        """Record members of other names."""
        for name in self.members.keys() - set(known):
            name_shown = name[:_SHOWN].encode(errors="replace").decode()
            self.add_error(name_shown, f"is unknown here; known are {', '.join(known)}")

    def given(self, name: str, *, required: bool = False) -> bool:
        """Return whether a member is there; one that is required and missing is an error."""
        if required and name not in self.members:
            self.add_error(name, "is missing")
        return name in self.members

    def whole_number(self, name: str, low: int, high: int, default: int) -> int:
        """Return a member as a whole number from `low` to `high`."""
        value = self.members.get(name, default)
        if broken := number_rule_broken(value, low, high):
            self.add_error(name, broken)
            return default
        return int(str(value))

    def text(self, name: str) -> str | None:
        """Return a member that is a string; None if it is another value, or missing."""
        value = self.members.get(name, _MISSING)
        if value is _MISSING:
            self.add_error(name, "is missing")
            return None
        if not isinstance(value, str):
            self.add_error(name, f"must be a string, not {kind_of_value(value)}")
            return None
        return value

    def array(self, name: str) -> list[object]:
        """Return a member that is an array; an empty one if it is another value, or missing."""
        value = self.members.get(name, [])
        if isinstance(value, list):
            return value
        self.add_error(name, f"must be an array, not {kind_of_value(value)}")
        return []


def number_rule_broken(value: object, low: int, high: int) -> str | None:
    """Return the rule that a value breaks, if it is no whole number from `low` to `high`."""
    if type(value) is int and low <= value <= high:
        return None
    return f"must be a whole number from {low} to {high}, not {shown(value)}"
