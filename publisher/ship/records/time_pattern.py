"""Patterns of times, as `strptime` has them, for logs: nanoseconds, missing years, zones."""

import re
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from publisher.ship.records.time_values import EPOCH, OFFSET, microseconds, offset_of, utc_text

Clock = Callable[[], datetime]
"""Tells the time now, with a zone."""

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTH_NUMBERS = {name[:3]: number for number, name in enumerate(_MONTHS, 1)}


def _names(names: tuple[str, ...]) -> str:
    return "|".join(f"{name}|{name[:3]}" for name in names)


_FIELDS = {
    "Y": r"[0-9]{4}",
    "y": r"[0-9]{2}",
    "m": r"1[0-2]|0[1-9]|[1-9]",
    "b": _names(_MONTHS),
    "d": r"3[01]|[12][0-9]|0[1-9]|\x20?[1-9]",
    "j": r"36[0-6]|3[0-5][0-9]|[12][0-9]{2}|0[1-9][0-9]|00[1-9]|[1-9][0-9]|[1-9]",
    "H": r"2[0-3]|[01][0-9]|\x20?[0-9]",
    "I": r"1[0-2]|0[1-9]|\x20?[1-9]",
    "M": r"[0-5][0-9]|[0-9]",
    "S": r"6[01]|[0-5][0-9]|[0-9]",
    "f": r"[0-9]{1,9}",
    "s": r"-?[0-9]{1,20}",
    "p": r"am|pm|a\.m\.|p\.m\.",
    "z": OFFSET,
    "Z": r"[a-z][a-z0-9_/+-]*",
    "a": _names(_DAYS),
}
_ALIASES = {"B": "b", "h": "b", "e": "d", "k": "H", "l": "I", "A": "a"}
_COMPOSITES = {
    "T": "%H:%M:%S",
    "F": "%Y-%m-%d",
    "D": "%m/%d/%y",
    "R": "%H:%M",
    "r": "%I:%M:%S %p",
    "c": "%a %b %e %H:%M:%S %Y",
    "x": "%m/%d/%y",
    "X": "%H:%M:%S",
    "n": " ",
    "t": " ",
}
_DIGITS = frozenset("YymdjHIMSfs")
_FIRST_YEAR_OF_TWO_DIGITS = 69
_NOON = 12
_YEARS_BETWEEN_LEAP_YEARS = 8  # 1896 and 1904
_UTC_NAMES = frozenset({"utc", "gmt", "z", "uct", "zulu"})


class TimePattern:
    """A pattern says how a time is written.

    Args:
        pattern: with the directives of `strptime`; names are English, in any case. `%f` takes one
            to nine digits, of which six are used, and `%s` seconds since 1970.
        zone: the zone of a time without one; None: that of the machine.
        clock: tells which year is meant when none is written.

    Raises:
        ValueError: the pattern has a directive that is not known or stands there twice, or says
            no day; one sentence.
    """

    def __init__(self, pattern: str, zone: tzinfo | None, clock: Clock) -> None:
        self._zone = zone
        self._clock = clock
        fields: list[str] = []
        parts = []
        for directive, text in _parts(_expanded(pattern)):
            if directive is None:
                parts.append(text)
                continue
            field = _ALIASES.get(directive, directive)
            if field not in _FIELDS:
                raise ValueError(f"--time-format {pattern!r} has %{directive}, which is not known")
            if field in fields:
                raise ValueError(f"--time-format {pattern!r} has %{directive} or its like twice")
            fields.append(field)
            parts.append(f"(?P<{field}>{_FIELDS[field]})")
        has = set(fields)
        if not ("s" in has or "j" in has or {"b", "d"} <= has or {"m", "d"} <= has):
            raise ValueError(f"--time-format {pattern!r} does not say which day it is")
        if parts and parts[-1].startswith("(") and fields[-1] in _DIGITS:
            parts.append("(?![0-9])")
        self.expression = f"(?ai:{''.join(parts)})"
        """A regular expression of such times, with groups."""

    def read(self, match: re.Match[str]) -> str | None:
        """Give the time that the expression matched.

        Returns:
            RFC 3339 in UTC; None if there is no such time.
        """
        fields = {name: text.lower() for name, text in match.groupdict().items() if text}
        try:
            moment = self._moment(fields)
        except (ValueError, OverflowError, OSError):
            return None
        return None if moment is None else utc_text(moment)

    def _moment(self, fields: dict[str, str]) -> datetime | None:
        us = int(microseconds(fields.get("f")))
        if "s" in fields:
            return EPOCH + timedelta(seconds=int(fields["s"]), microseconds=us)
        clock = timedelta(
            hours=_hour(fields),
            minutes=int(fields.get("M", 0)),
            seconds=_second(fields),
            microseconds=us,
        )
        year = _year(fields)
        if year is not None:
            return self._in_zone(_day(fields, year) + clock, fields)
        latest = self._clock() + timedelta(days=1)
        # In another zone it may be the next year already.
        for year in range(latest.year + 1, latest.year - 1 - _YEARS_BETWEEN_LEAP_YEARS, -1):
            try:
                moment = self._in_zone(_day(fields, year) + clock, fields)
            except (ValueError, OverflowError):
                continue
            if moment is None or moment <= latest:
                return moment
        return None

    def _in_zone(self, written: datetime, fields: dict[str, str]) -> datetime | None:
        """Give the moment of a time as it is written; None if its zone is not known."""
        if "z" in fields:
            offset = offset_of(fields["z"])
            return None if offset is None else written.replace(tzinfo=timezone(offset))
        name = fields.get("Z")
        if name in _UTC_NAMES:
            return written.replace(tzinfo=UTC)
        # As in `datetime`: what is there twice is the first, what is not there has the old offset.
        if name is None:
            return written.replace(tzinfo=self._zone).astimezone(UTC)
        for fold in (0, 1):
            moment = written.replace(tzinfo=self._zone, fold=fold)
            zoned = moment if self._zone else moment.astimezone()
            if (zoned.tzname() or "").lower() == name:
                return moment.astimezone(UTC)
        return None


def named_zone(name: str) -> tzinfo:
    """Look a time zone up by its IANA name.

    Raises:
        ValueError: there is none of this name; one sentence.
    """
    try:
        return UTC if name == "UTC" else zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"--time-zone {name!r} is no time zone that is known here") from error


def _expanded(pattern: str) -> str:
    return re.sub(
        "%(.)", lambda found: _COMPOSITES.get(found[1], found[0]), pattern, flags=re.DOTALL
    )


def _parts(pattern: str) -> Iterator[tuple[str | None, str]]:
    """Give the directives of a pattern, and what stands between them as regular expressions."""
    for found in re.finditer(r"%(.?)|(\s+)|([^%\s]+)", pattern, re.DOTALL):
        directive, blank, literal = found.groups()
        if blank:
            yield None, r"\s+"
        elif literal:
            yield None, re.escape(literal)
        elif directive == "%":
            yield None, "%"
        else:
            yield directive, ""


def _year(fields: dict[str, str]) -> int | None:
    if "Y" in fields:
        return int(fields["Y"])
    if "y" in fields:
        year = int(fields["y"])
        return year + (1900 if year >= _FIRST_YEAR_OF_TWO_DIGITS else 2000)
    return None


def _day(fields: dict[str, str], year: int) -> datetime:
    if "d" in fields and ("m" in fields or "b" in fields):
        month = int(fields["m"]) if "m" in fields else _MONTH_NUMBERS[fields["b"][:3]]
        return datetime(year, month, int(fields["d"]))  # noqa: DTZ001 - its zone comes later
    day = datetime(year, 1, 1) + timedelta(days=int(fields["j"]) - 1)  # noqa: DTZ001
    if day.year != year:
        raise ValueError("the year has no day 366")
    return day


def _hour(fields: dict[str, str]) -> int:
    if "H" in fields:
        return int(fields["H"])
    hour = int(fields.get("I", 0)) % _NOON
    return hour + _NOON if fields.get("p", "").startswith("p") else hour


def _second(fields: dict[str, str]) -> int:
    second = int(fields.get("S", 0))
    if second > 59:
        raise ValueError("a leap second")
    return second
