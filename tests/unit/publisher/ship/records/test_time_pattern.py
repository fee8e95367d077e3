"""Patterns read what `strptime` reads, and what logs need beyond it."""

import re
import zoneinfo
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unit.publisher.ship.records.test_time_values import day, text_of

from publisher.ship.records.time_pattern import TimePattern, named_zone

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def read(pattern: str, text: str, zone: tzinfo | None = UTC, now: datetime = NOW) -> str | None:
    made = TimePattern(pattern, zone, lambda: now)
    match = re.fullmatch(made.expression, text)
    return match and made.read(match)


PATTERNS = [
    "%Y-%m-%d %H:%M:%S.%f",
    "%d/%b/%Y:%H:%M:%S,%f",
    "%A, %d %B %Y at %I.%M.%S.%f %p",
    "[%a %b %d %H:%M:%S %f %Y]",
    "%Y%m%d%H%M%S%f",
    "%j of %Y, %H%M%S.%f",
    "(%f) %S|%M|%H %m+%d*%Y? 100%%",
]


@given(
    st.datetimes(day("0001-01-03"), day("9999-12-29")),
    st.sampled_from(PATTERNS),
    st.sampled_from(ZONES),
    st.booleans(),
)
def test_what_strftime_wrote_is_read(
    written: datetime, pattern: str, name: str, upper: bool
) -> None:
    zone = zoneinfo.ZoneInfo(name)
    text = written.strftime(pattern.replace("%Y", f"{written.year:04d}"))
    expected = text_of(written.replace(tzinfo=zone))
    assert read(pattern, text.upper() if upper else text, zone) == expected


@given(st.datetimes(day("1970-01-01"), day("2068-01-01")))
def test_composites_and_short_years_are_read(written: datetime) -> None:
    expected = text_of(written.replace(tzinfo=UTC, microsecond=0))
    for pattern in ("%y-%m-%d %T", "%D %T", "%F %X", "%c", "%x %r", "%e. %h %Y%n%R:%S", "%s"):
        text = written.replace(tzinfo=UTC).strftime(pattern)
        if pattern == "%s":
            text = str(int(written.replace(tzinfo=UTC).timestamp()))
        assert read(pattern, text) == expected, text


@given(st.datetimes(day("0002-01-01"), day("9998-01-01")), st.integers(-1439, 1439))
def test_offset_that_is_written_counts(written: datetime, minutes: int) -> None:
    moment = written.replace(tzinfo=timezone(timedelta(minutes=minutes)), microsecond=0)
    for offset in (f"{moment:%z}", moment.isoformat()[-6:]):
        text = f"{written:%d.%m.} {written.year:04d} {written:%T} {offset}"
        assert read("%d.%m. %Y %T %z", text, BERLIN) == text_of(moment)


@pytest.mark.parametrize(
    ("pattern", "text", "time"),
    [
        ("%d %m %Y", "3 4 2026", "2026-04-03T00:00:00.000000Z"),
        ("%b %d %Y", "mAy  3 2026", "2026-05-03T00:00:00.000000Z"),
        ("%b %e %Y", "Dec  3 2026", "2026-12-03T00:00:00.000000Z"),
        ("%F %I:%M", "2026-11-30 12:30", "2026-11-30T00:30:00.000000Z"),
        ("%F %I %p", "2026-11-30 12 PM", "2026-11-30T12:00:00.000000Z"),
        ("%F %I %p", "2026-11-30 12 a.m.", "2026-11-30T00:00:00.000000Z"),
        ("%F %T.%f", "2026-11-30 12:00:00.1234567", "2026-11-30T12:00:00.123456Z"),
        ("%F %T,%f", "2026-11-30 12:00:00,1", "2026-11-30T12:00:00.100000Z"),
        ("%F %T,%f", "2026-11-30 12:00:00.1", None),
        ("%F %T.%f", "2026-11-30 12:00:00.1234567890", None),
        ("%F %T", "2026-12-31 23:59:60", None),
        ("%F", "2026-02-29", None),
        ("%Y %j", "2026 366", None),
        ("%Y %j", "2024 366", "2024-12-31T00:00:00.000000Z"),
        ("%F", "0000-01-01", None),
        ("%y %m %d", "68 1 1", "2068-01-01T00:00:00.000000Z"),
        ("%y %m %d", "69 1 1", "1969-01-01T00:00:00.000000Z"),
        ("%s.%f", "1700000000.123456789", "2023-11-14T22:13:20.123456Z"),
        ("%s", "99999999999999", None),
        ("%F %T %z", "2026-11-30 12:00:00 Z", "2026-11-30T12:00:00.000000Z"),
        ("%F %T%z", "2026-11-30 12:00:00-03", "2026-11-30T15:00:00.000000Z"),
        ("%F %T%z", "2026-11-30 12:00:00+24:00", None),
        ("%b %d %Y", "\u017fep 3 2026", None),
        ("年%Y月%m日%d", "年2026月11日30", "2026-11-30T00:00:00.000000Z"),
    ],
)
def test_time_of_a_pattern(pattern: str, text: str, time: str | None) -> None:
    assert read(pattern, text) == time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-10-25 02:30:00 CEST", "2026-10-25T00:30:00.000000Z"),
        ("2026-10-25 02:30:00 CET", "2026-10-25T01:30:00.000000Z"),
        ("2026-07-01 12:00:00 CEST", "2026-07-01T10:00:00.000000Z"),
        ("2026-07-01 12:00:00 utc", "2026-07-01T12:00:00.000000Z"),
        ("2026-07-01 12:00:00 GMT", "2026-07-01T12:00:00.000000Z"),
        ("2026-07-01 12:00:00 PST", None),
    ],
)
def test_name_of_a_zone_is_that_of_the_given_one_or_of_utc(text: str, time: str | None) -> None:
    assert read("%F %T %Z", text, BERLIN) == time


def test_time_that_exists_twice_is_the_first_and_one_that_does_not_has_the_old_offset() -> None:
    assert read("%F %T", "2026-10-25 02:30:00", BERLIN) == "2026-10-25T00:30:00.000000Z"
    assert read("%F %T", "2026-03-29 02:30:00", BERLIN) == "2026-03-29T01:30:00.000000Z"


@pytest.mark.usefixtures("machine_in_new_york")
def test_zone_of_the_machine_is_taken_without_another() -> None:
    assert read("%F %T", "2026-07-01 12:00:00", None) == "2026-07-01T16:00:00.000000Z"
    assert read("%F %T", "2026-11-01 01:30:00", None) == "2026-11-01T05:30:00.000000Z"
    assert read("%F %T %Z", "2026-11-01 01:30:00 EST", None) == "2026-11-01T06:30:00.000000Z"
    assert read("%b %d %T", "Nov 30 12:00:00", None) == "2026-11-30T17:00:00.000000Z"


def test_year_that_is_missing_is_the_latest_that_is_not_more_than_a_day_ahead() -> None:
    pattern = "%b %d %H:%M:%S"
    assert read(pattern, "Dec  1 12:00:00") == "2026-12-01T12:00:00.000000Z"
    assert read(pattern, "Dec  1 12:00:01") == "2025-12-01T12:00:01.000000Z"
    assert read(pattern, "Feb 29 00:00:00") == "2024-02-29T00:00:00.000000Z"
    assert read(pattern, "Feb 30 00:00:00") is None
    assert read("%j", "366") == "2024-12-31T00:00:00.000000Z"
    new_year = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    assert read(pattern, "Jan  1 00:10:00", BERLIN, new_year) == "2026-12-31T23:10:00.000000Z"
    assert read(pattern, "Jan  1 08:00:00", now=new_year) == "2027-01-01T08:00:00.000000Z"
    # In Berlin the year has begun while it is still the last day of the old one in UTC.
    before = datetime(2026, 12, 30, 23, 30, tzinfo=UTC)
    assert read(pattern, "Jan  1 00:10:00", BERLIN, before) == "2026-12-31T23:10:00.000000Z"
    long_ago = datetime(1903, 6, 1, tzinfo=UTC)
    assert read(pattern, "Feb 29 00:00:00", now=long_ago) == "1896-02-29T00:00:00.000000Z"


@given(
    st.datetimes(day("2000-01-01"), day("2100-01-01"), timezones=st.just(UTC)),
    st.timedeltas(timedelta(days=-364), timedelta(days=1)),
    st.sampled_from(ZONES),
)
def test_year_that_is_missing_is_found(now: datetime, ago: timedelta, name: str) -> None:
    zone = zoneinfo.ZoneInfo(name)
    moment = (now + ago).replace(microsecond=0)
    local = moment.astimezone(zone)
    assume(not local.fold)
    assert read("%m-%d %T", f"{local:%m-%d %T}", zone, now) == text_of(moment)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("%Y-%Q-%d", "has %Q, which is not known"),
        ("%Y-%m-%d %", "has %, which is not known"),
        ("%Y-%m-%d %-H", "has %-, which is not known"),
        ("%F %d", "has %d or its like twice"),
        ("%b %B %d", "has %B or its like twice"),
        ("%H:%M:%S", "does not say which day it is"),
        ("%Y-%m", "does not say which day it is"),
    ],
)
def test_pattern_that_is_wrong_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match="--time-format") as refused:
        TimePattern(pattern, UTC, lambda: NOW)
    assert str(refused.value) == f"--time-format {pattern!r} {reason}"


@pytest.mark.parametrize("name", ["", "Mars/Base", "../etc/passwd", "/etc/passwd", "Europe", "\0"])
def test_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no time zone that is known here") as refused:
        named_zone(name)
    assert repr(name) in str(refused.value)


def test_zone_that_is_known_is_found() -> None:
    assert named_zone("Europe/Berlin") == BERLIN
    assert named_zone("UTC") is UTC
