"""The parser and the checks of the parameters of a query string."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from urllib.parse import parse_qsl

from aggregator.wire.errors import FieldError, InvalidRequest
from aggregator.wire.event_rules import name_rule_broken, topic_rule_broken
from aggregator.wire.timestamps import parse_instant
from storage.model import MIN_TIME_US

_DIGITS = re.compile(r"[0-9]{1,4300}", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,12})([smhd])", re.ASCII)
_UNIT_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}

_NONE: Mapping[str, list[str]] = {}


def read_parameters(
    query_string: str,
    known: Sequence[str],
    repeatable: Mapping[str, list[str]] = _NONE,
    refused: Collection[str] = (),
) -> dict[str, str]:
    """Parse a query string.

    Args:
        query_string: the raw query string.
        known: the names of the parameters that are allowed.
        repeatable: those that may be repeated; all of their values are added to these lists.
        refused: the names of others, which the caller refuses with a reason of its own.

    Returns:
        The values by name, none empty; of one that is repeated, the last.

    Raises:
        InvalidRequest: a parameter is unknown, repeated or empty, or the query string is malformed.
    """
    try:
        pairs = parse_qsl(query_string, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidRequest("the query string is not percent-encoded UTF-8") from error
    except ValueError as error:
        raise InvalidRequest(f"the query string can't be read: {error}") from error
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name not in known and name not in refused:
            raise InvalidRequest(f"unknown parameter {name[:64]!r}; known are {', '.join(known)}")
        if name in parameters and name not in repeatable:
            raise InvalidRequest(f"{name} is given more than once")
        if not value:
            raise InvalidRequest(f"{name} is empty; leave it out or give it a value")
        parameters[name] = value
        if name in repeatable:
            repeatable[name].append(value)
    return parameters


def is_duration(text: str) -> bool:
    """Return whether a text is a whole number of seconds, minutes, hours or days, such as 5m."""
    return _DURATION.fullmatch(text) is not None


class ParameterCheck:
    """Converts parameters and collects the rules that they break.

    Args:
        sent: the parameters by name.
    """

    def __init__(self, sent: Mapping[str, str]) -> None:
        self.errors: list[FieldError] = []
        self._sent = sent

    def finish(self) -> None:
        """Refuse the request if a rule is broken.

        Raises:
            InvalidRequest: with every broken rule.
        """
        if self.errors:
            first = self.errors[0]
            raise InvalidRequest(f"{first.field} {first.message}", self.errors)

    def add_error(self, name: str, message: str) -> None:
        """Record that a parameter breaks a rule."""
        self.errors.append(FieldError(0, name, message))

    def topic(self, name: str) -> str | None:
        """Return the parameter as the name of a topic."""
        return self._ruled(name, topic_rule_broken)

    def text(self, name: str) -> str | None:
        """Return the parameter as an event id or a source."""
        return self._ruled(name, name_rule_broken)

    def number(self, name: str, low: int, high: int) -> int | None:
        """Return the parameter as a whole number in ASCII digits, from `low` to `high`."""
        value = self._sent.get(name)
        if value is None:
            return None
        if _DIGITS.fullmatch(value) is None or not low <= int(value) <= high:
            self.add_error(name, f"must be a whole number from {low} to {high}, not {value[:64]!r}")
            return None
        return int(value)

    def instant(self, name: str, now_us: int) -> int | None:
        """Return the parameter as a time: ISO 8601, or a duration back from `now_us`.

        Args:
            name: the name of the parameter.
            now_us: the current time, in microseconds since the epoch.

        Returns:
            Microseconds since the epoch, None if the parameter is missing or breaks a rule.
        """
        value = self._sent.get(name)
        if value is None:
            return None
        try:
            return parse_since(value, now_us)
        except ValueError as error:
            self.add_error(
                name,
                f"{value[:64]!r} {error} (a + in a URL is a space: write %2B or Z; a duration "
                "back from now is a whole number and s, m, h or d: 5m)",
            )
            return None

    def _ruled(self, name: str, rule_broken: Callable[[str], str | None]) -> str | None:
        value = self._sent.get(name)
        if value is not None and (broken := rule_broken(value)):
            self.add_error(name, broken)
        return value


def parse_since(text: str, now_us: int) -> int:
    """Parse a time: ISO 8601, or a duration back from now.

    Args:
        text: the time.
        now_us: the current time, in microseconds since the epoch.

    Returns:
        Microseconds since the epoch.

    Raises:
        ValueError: it is neither, or not within the years 1 to 9999 in UTC.
    """
    return _back(text, now_us) if is_duration(text) else parse_instant(text)


def _back(duration: str, now_us: int) -> int:
    time_us = now_us - int(duration[:-1]) * _UNIT_US[duration[-1]]
    if time_us < MIN_TIME_US:
        raise ValueError("reaches back beyond the year 1")
    return time_us
