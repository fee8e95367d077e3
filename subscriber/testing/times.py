"""Times as an aggregator reads and writes them: whole microseconds since 1970, in UTC."""

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)?",
    re.ASCII,
)
_ISO_8601 = re.compile(r"[0-9W-]+(?:[Tt ][0-9:]+(?:[.,][0-9]+)?(?:[Zz]|[+-][0-9:]+)?)?", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,12})([smhd])", re.ASCII)
_YEARS_US = -62_135_596_800_000_000, 253_402_300_800_000_000
"""The years 1 to 9999."""

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def microseconds(moment: datetime) -> int:
    """Return a moment as microseconds.

    Raises:
        ValueError: it has no time zone.
    """
    if moment.utcoffset() is None:
        raise ValueError(f"the time {moment} has no time zone; use datetime.now(UTC)")
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(time_us: int) -> datetime:
    """Return microseconds as a moment in UTC."""
    return _EPOCH + timedelta(microseconds=time_us)


def render_time(time_us: int) -> str:
    """Render microseconds as `YYYY-MM-DDTHH:MM:SS.ffffffZ`."""
    return moment_of(time_us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_date_time(text: str) -> int:
    """Parse an RFC 3339 date-time, UTC if it names no offset.

    Raises:
        ValueError: it is none; a clause that follows the text.
    """
    if _DATE_TIME.fullmatch(text) is None:
        raise ValueError("is not an RFC 3339 date-time such as 2026-01-31T12:00:00Z")
    return _parse(text)


def parse_since(text: str, now_us: int) -> int:
    """Parse a time: ISO 8601, or a duration back from now.

    Raises:
        ValueError: it is neither; a clause that follows the text.
    """
    if is_duration(text):
        return _within_years(now_us - int(text[:-1]) * _UNIT_S[text[-1]] * 1_000_000)
    if _ISO_8601.fullmatch(text) is None:
        raise ValueError("is not an ISO 8601 date or date-time such as 2026-01-31T12:00:00Z")
    return _parse(text)


def is_duration(text: str) -> bool:
    """Return whether a text is a whole number of seconds, minutes, hours or days, such as 5m."""
    return _DURATION.fullmatch(text) is not None


def _parse(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(f"is not a date and time that exists: {error}") from error
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return _within_years(microseconds(aware))


def _within_years(time_us: int) -> int:
    if not _YEARS_US[0] <= time_us < _YEARS_US[1]:
        raise ValueError("is outside the years 1 to 9999 in UTC")
    return time_us
