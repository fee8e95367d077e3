"""Moments of time as text: RFC 3339 and numbers since the epoch, in and out."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

OFFSET = r"[Zz]|[+-][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?"
"""A regular expression of offsets from UTC."""

_DATE = r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
_CLOCK = r"((?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})"
RFC3339 = (
    rf"{_DATE}(?:[Tt]|\x20(?=[0-9:.]+(?:{OFFSET})))"
    rf"{_CLOCK}(?:\.([0-9]+))?({OFFSET})?(?![0-9])"
)
"""A regular expression of date-times. A space is taken for the T where an offset follows."""

DATE_TIME = rf"{_DATE}[Tt ]{_CLOCK}(?:[.,]([0-9]+))?[ ]?({OFFSET})?(?![0-9])"
"""A regular expression of date-times as programs write them: a space for the T, a comma for the
point, a blank before the offset."""

NUMBER = r"(-?)([0-9]{1,40})(?:\.([0-9]{1,40}))?(?:[eE]([+-]?[0-9]{1,2}))?"
"""A regular expression of numbers, as JSON has them."""

_rfc3339 = re.compile(RFC3339).fullmatch
_MICROSECOND_DIGITS = 6
_SIZES = ((10**11, 6), (10**14, 3), (10**17, 0))


def utc_text(moment: datetime) -> str | None:
    """Give a moment as RFC 3339 in UTC with six digits; None outside the years 1 to 9999.

    Args:
        moment: it has a time zone, or is in that of the machine.
    """
    try:
        utc = moment.astimezone(UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def microseconds(fraction: str | None) -> str:
    """Give the six digits of a fraction of a second; further ones are cut."""
    return (fraction or "")[:_MICROSECOND_DIGITS].ljust(_MICROSECOND_DIGITS, "0")


def offset_of(text: str) -> timedelta | None:
    """Read an offset from UTC that OFFSET matches; None if there is no such offset."""
    if text in {"Z", "z"}:
        return timedelta()
    digits = text[1:].replace(":", "").ljust(6, "0")
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    if max(minutes, seconds) > 59 or hours > 23:
        return None
    offset = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return -offset if text[0] == "-" else offset


def date_time(match: re.Match[str], zone: tzinfo | None) -> str | None:
    """Give the time that RFC3339 or DATE_TIME matched.

    Args:
        match: its groups are date, time, fraction and offset; the last two may be empty.
        zone: the zone of a time without an offset; None: that of the machine.

    Returns:
        RFC 3339 in UTC; None if there is no such time.
    """
    date, clock, fraction, offset_text = match.groups()
    try:
        written = datetime.fromisoformat(f"{date}T{clock}.{microseconds(fraction)}")
        if not offset_text:
            return utc_text(written.replace(tzinfo=zone))
        offset = offset_of(offset_text)
        if offset is None:
            return None
        return (written - offset).isoformat(timespec="microseconds") + "Z"
    except (OverflowError, ValueError):
        return None


def rfc3339(text: str) -> str | None:
    """Read an RFC 3339 date-time; None if it is none. Without an offset it is in UTC."""
    match = _rfc3339(text)
    return match and date_time(match, UTC)


def epoch(match: re.Match[str], exponent: int | None) -> str | None:
    """Give the time that NUMBER matched, a number since 1970.

    Args:
        match: its groups are sign, integer, fraction and exponent.
        exponent: the unit as a power of ten of microseconds: 6 for seconds, -3 for nanoseconds.
            None: it is told from the size of the number.

    Returns:
        RFC 3339 in UTC, what is less than a microsecond cut off; None if there is no such time.
    """
    sign, integer, fraction, written_exponent = match.groups()
    fraction = fraction or ""
    # The number is `digits` times ten to the power of `power`.
    digits = int(integer + fraction)
    power = int(written_exponent or 0) - len(fraction)
    if exponent is None:
        size = digits * 10**power if power >= 0 else digits // 10**-power
        exponent = next((unit for limit, unit in _SIZES if size < limit), -3)
    power += exponent
    if sign:
        digits = -digits
    us = digits * 10**power if power >= 0 else digits // 10**-power
    try:
        return utc_text(EPOCH + timedelta(microseconds=us))
    except OverflowError:
        return None
