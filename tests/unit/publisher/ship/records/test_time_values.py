"""Date-times and numbers become UTC, exactly."""

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.ship.records.time_values import EPOCH, NUMBER, epoch, rfc3339, utc_text

OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timedelta(minutes=minutes))


day = datetime.fromisoformat


def text_of(moment: datetime) -> str:
    """Write a moment as it is to come out."""
    utc = moment.astimezone(UTC)
    return (
        f"{utc.year:04d}-{utc.month:02d}-{utc.day:02d}T{utc.hour:02d}:{utc.minute:02d}:"
        f"{utc.second:02d}.{utc.microsecond:06d}Z"
    )


@given(st.datetimes(day("0001-01-03"), day("9999-12-29")), OFFSETS, st.text("0123456789"))
def test_rfc3339_is_read_exactly(written: datetime, offset: timedelta, more: str) -> None:
    moment = written.replace(tzinfo=timezone(offset))
    text = written.isoformat(timespec="microseconds") + more + moment.isoformat()[-6:]
    assert rfc3339(text) == text_of(moment)
    assert rfc3339(text.replace("T", " ").lower()) == text_of(moment)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-30T12:00:00Z", "2026-11-30T12:00:00.000000Z"),
        ("2026-11-30t12:00:00z", "2026-11-30T12:00:00.000000Z"),
        ("2026-11-30T12:00:00.9999999999Z", "2026-11-30T12:00:00.999999Z"),
        ("2026-11-30T12:00:00.5", "2026-11-30T12:00:00.500000Z"),
        ("0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00.000000Z"),
        ("0001-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("0000-01-01T00:00:00Z", None),
        ("2026-02-29T00:00:00Z", None),
        ("2026-12-31T23:59:60Z", None),
        ("2026-12-31T24:00:00Z", None),
        ("2026-11-30T12:00:00+24:00", None),
        ("2026-11-30T12:00:00+00:60", None),
        ("2026-11-30 12:00:00", None),
        ("2026-11-30T12:00:00,5Z", None),
        ("2026-11-30T12:00Z", None),
        ("2026-11-30", None),
        ("\uff12026-11-30T12:00:00Z", None),
        ("", None),
    ],
)
def test_rfc3339_of_the_edges(text: str, time: str | None) -> None:
    assert rfc3339(text) == time


def epoch_of(text: str, exponent: int | None) -> str | None:
    match = re.fullmatch(NUMBER, text)
    assert match is not None
    return epoch(match, exponent)


@given(
    st.decimals(-(10**12), 10**12, places=12) | st.integers(-(10**20), 10**20).map(Decimal),
    st.sampled_from([6, 3, 0, -3]),
    st.sampled_from(["f", "e"]),
)
def test_numbers_are_read_exactly(number: Decimal, exponent: int, form: str) -> None:
    us = Fraction(number) * Fraction(10) ** exponent
    try:
        expected = text_of(EPOCH + timedelta(microseconds=us.__floor__()))
    except OverflowError:
        expected = None
    assert epoch_of(f"{number:{form}}", exponent) == expected


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("0", "1970-01-01T00:00:00.000000Z"),
        ("-1", "1969-12-31T23:59:59.000000Z"),
        ("1700000000", "2023-11-14T22:13:20.000000Z"),
        ("1700000000.1234567", "2023-11-14T22:13:20.123456Z"),
        ("1.7E9", "2023-11-14T22:13:20.000000Z"),
        ("1700000000123", "2023-11-14T22:13:20.123000Z"),
        ("1700000000123456", "2023-11-14T22:13:20.123456Z"),
        ("1700000000123456789", "2023-11-14T22:13:20.123456Z"),
        ("-1700000000123", "1916-02-18T01:46:39.877000Z"),
        ("99999999999", "5138-11-16T09:46:39.000000Z"),
        ("100000000000", "1973-03-03T09:46:40.000000Z"),
        ("99999999999999", "5138-11-16T09:46:39.999000Z"),
        ("100000000000000", "1973-03-03T09:46:40.000000Z"),
        ("100000000000000000", "1973-03-03T09:46:40.000000Z"),
        ("1" + "0" * 30, None),
        ("1e99", None),
        ("1e-99", "1970-01-01T00:00:00.000000Z"),
    ],
)
def test_unit_is_told_from_the_size(text: str, time: str | None) -> None:
    assert epoch_of(text, None) == time


def test_moment_outside_of_the_years_has_no_text() -> None:
    east = timezone(timedelta(hours=1))
    assert utc_text(datetime(1, 1, 1, tzinfo=east)) is None
    assert utc_text(datetime(1, 1, 1, 1, tzinfo=east)) == "0001-01-01T00:00:00.000000Z"
