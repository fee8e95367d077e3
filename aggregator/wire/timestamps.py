"""Conversions between RFC 3339 date-times and whole microseconds since the epoch.

The date type of msgspec is not used, since it rounds nanoseconds, and the contract cuts them.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from storage.model import MAX_TIME_US, MIN_TIME_US

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)?",
    re.ASCII,
)
# Beyond RFC 3339, ISO 8601 allows dates alone, basic format, week dates and a decimal comma.
_ISO_8601 = re.compile(r"[0-9W-]+(?:[Tt ][0-9:]+(?:[.,][0-9]+)?(?:[Zz]|[+-][0-9:]+)?)?", re.ASCII)
_PLAIN_LENGTH = len("2026-01-31T12:00:00.000000Z")
_CACHED_SECONDS = 1000
"""Events that arrive together have timestamps in few different seconds."""


def parse_timestamp(text: str) -> int:
    """Parse an RFC 3339 date-time.

    The offset may be missing (then it is UTC), and so may the seconds. Digits after the sixth
    of a fraction are cut, not rounded.

    Args:
        text: the date-time.

    Returns:
        Microseconds since the epoch.

    Raises:
        ValueError: not such a date-time, or not within the years 1 to 9999 in UTC.
    """
    if (
        len(text) == _PLAIN_LENGTH
        and text[19] == "."
        and text[26] == "Z"
        and text.isascii()
        and text[20:26].isdigit()
    ):
        return _second(text[:19]) + int(text[20:26])
    return _date_time(text)


@lru_cache(_CACHED_SECONDS)
def _second(text: str) -> int:
    return _date_time(f"{text}Z")


def _date_time(text: str) -> int:
    if _DATE_TIME.fullmatch(text) is None:
        raise ValueError("is not an RFC 3339 date-time such as 2026-01-31T12:00:00Z")
    return _microseconds(text)


def parse_instant(text: str) -> int:
    """Parse an ISO 8601 date or date-time, UTC if it names no offset.

    Args:
        text: the date or date-time.

    Returns:
        Microseconds since the epoch.

    Raises:
        ValueError: not such a time, or not within the years 1 to 9999 in UTC.
    """
    if _ISO_8601.fullmatch(text) is None:
        raise ValueError("is not an ISO 8601 date or date-time such as 2026-01-31T12:00:00Z")
    return _microseconds(text)


def render_timestamp(time_us: int) -> str:
    """Render a time as `YYYY-MM-DDTHH:MM:SS.ffffffZ`, always with six digits."""
    moment = _EPOCH + timedelta(microseconds=time_us)
    return f"{moment.isoformat(timespec='microseconds')[:26]}Z"


def _microseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(f"is not a date and time that exists: {error}") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    time_us = since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds
    if not MIN_TIME_US <= time_us < MAX_TIME_US:
        raise ValueError("is outside the years 1 to 9999 in UTC")
    return time_us
