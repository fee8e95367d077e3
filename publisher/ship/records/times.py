"""Times of records, in the formats that logs have them in."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC
from typing import NamedTuple

from publisher.events import now
from publisher.ship.records.time_pattern import Clock, TimePattern, named_zone
from publisher.ship.records.time_values import DATE_TIME, NUMBER, RFC3339, date_time, epoch

_EPOCH_UNITS = {"epoch-s": 6, "epoch-ms": 3, "epoch-us": 0, "epoch-ns": -3}
NAMES = ("rfc3339", *_EPOCH_UNITS, "asctime")
"""The formats that have a name; any other one is a pattern."""

# Between a number at the beginning of a line and what follows.
_NUMBER_END = r"(?=\s|\Z|[\],;|]|:(?![0-9]))"
_ASCTIME = r"([0-9]{4}-[0-9]{2}-[0-9]{2}) ((?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})"
_ASCTIME_REST = r"(?:[,.]([0-9]{1,9}))?()?(?![0-9])"
_MAX_TIME_BYTES = 256
_BEFORE = r"[ \t]*\[?[ \t]*"

_Read = Callable[[re.Match[str]], str | None]


class _TimeFormat(NamedTuple):
    expression: str
    read: _Read


class Times:
    """Times are read in the first of several formats that fits.

    Args:
        formats: `rfc3339`, `epoch-s`, `epoch-ms`, `epoch-us`, `epoch-ns`, `asctime` or patterns of
            `strptime`. None at all: date-times, and numbers since 1970 by their size.
        zone: IANA name of the zone of times without one. None: that of the machine; for
            date-times of RFC 3339, and if there is no format, UTC.
        clock: tells which year is meant when none is written.

    Raises:
        ValueError: a format or the zone is not known; one sentence.
    """

    def __init__(
        self, formats: Sequence[str] = (), zone: str | None = None, clock: Clock = now
    ) -> None:
        local = None if zone is None else named_zone(zone)
        default = UTC if local is None else local

        def make(text: str) -> _TimeFormat:
            if text == "rfc3339":
                return _TimeFormat(RFC3339, lambda match: date_time(match, default))
            if text in _EPOCH_UNITS:
                unit = _EPOCH_UNITS[text]
                return _TimeFormat(NUMBER + _NUMBER_END, lambda match: epoch(match, unit))
            if text == "asctime":
                return _TimeFormat(_ASCTIME + _ASCTIME_REST, lambda match: date_time(match, local))
            if "%" not in text:
                raise ValueError(
                    f"--time-format {text!r} is none of {', '.join(NAMES)}, and no pattern such as "
                    "'%d/%b/%Y %H:%M:%S'"
                )
            pattern = TimePattern(text, local, clock)
            return _TimeFormat(pattern.expression, pattern.read)

        made = [make(text) for text in formats] or [
            _TimeFormat(DATE_TIME, lambda match: date_time(match, default)),
            _TimeFormat(NUMBER, lambda match: epoch(match, None)),
        ]
        self._of_fields = [(re.compile(each.expression).fullmatch, each.read) for each in made]
        self._of_lines = [(re.compile(_BEFORE + each.expression).match, each.read) for each in made]

    def of_field(self, text: str) -> str | None:
        """Read a time that stands alone.

        Args:
            text: all of it, a number as it is written.

        Returns:
            RFC 3339 in UTC with six digits; None if it is no time in these formats.
        """
        for matched, read in self._of_fields:
            match = matched(text)
            if match is not None and (time := read(match)) is not None:
                return time
        return None

    def of_line(self, data: bytes) -> str | None:
        """Read the time at the beginning of a line, behind blanks and one `[`.

        Args:
            data: the line.

        Returns:
            RFC 3339 in UTC with six digits; None if it does not begin with one.
        """
        text = data[:_MAX_TIME_BYTES].decode(errors="replace")
        for matched, read in self._of_lines:
            match = matched(text)
            if match is not None and (time := read(match)) is not None:
                return time
        return None
