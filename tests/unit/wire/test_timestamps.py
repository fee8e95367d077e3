"""Timestamps against a parser of another making."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.publish_model import timestamp_of

from aggregator.wire.timestamps import parse_instant, parse_timestamp, render_timestamp
from storage.model import MAX_TIME_US, MIN_TIME_US

TWO_DIGITS = st.integers(0, 99).map("{:02}".format)


@st.composite
def date_times(draw: st.DrawFn) -> str:
    """Something in the form of a date-time, of which many do not exist."""
    year = draw(
        st.sampled_from(["0000", "0001", "1969", "2024", "2026", "9999"])
        | st.integers(0, 9999).map("{:04}".format)
    )
    month = draw(st.integers(0, 13))
    day = draw(st.integers(0, 32))
    hour, minute, second = (
        draw(st.integers(0, 24)),
        draw(st.integers(0, 60)),
        draw(st.integers(0, 60)),
    )
    text = f"{year}-{month:02}-{day:02}{draw(st.sampled_from('Tt T_'))}{hour:02}:{minute:02}"
    if draw(st.booleans()):
        text += f":{second:02}"
    if draw(st.booleans()):
        text += "." + draw(st.text("0123456789", max_size=12))
    return text + draw(
        st.sampled_from(["", "Z", "z", "-00:00", "+23:59", "-23:59", "+24:00", "+0700"])
        | st.builds("{}{}:{}".format, st.sampled_from("+-"), TWO_DIGITS, TWO_DIGITS)
    )


def parsed(text: str) -> int | None:
    try:
        return parse_timestamp(text)
    except ValueError:
        return None


@given(date_times())
@example("0001-01-01T00:00:00+00:01")
@example("9999-12-31T23:59:59.9999999Z")
@example("9999-12-31T23:59-00:01")
@example("1969-12-31T23:59:59.9999999Z")
def test_timestamp_is_parsed_like_a_reference_parser(text: str) -> None:
    assert parsed(text) == timestamp_of(text)


@given(date_times(), st.data())
def test_damaged_timestamp_is_parsed_like_a_reference_parser(
    text: str, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(text)))
    new = data.draw(st.sampled_from(["", " ", "0", ":", "-", "+", "Z", ".", "T", "٣", "\n", "W"]))
    damaged = text[:place] + new + text[place + data.draw(st.integers(0, 1)) :]
    assert parsed(damaged) == timestamp_of(damaged)


@given(st.text(max_size=30))
def test_parser_accepts_or_refuses_any_text(text: str) -> None:
    assert parsed(text) == timestamp_of(text)


@given(st.integers(MIN_TIME_US, MAX_TIME_US - 1))
@example(MIN_TIME_US)
@example(MAX_TIME_US - 1)
@example(-1)
def test_rendered_timestamp_has_27_characters_and_parses_back_exactly(time_us: int) -> None:
    text = render_timestamp(time_us)
    assert len(text) == len("2026-01-31T12:00:00.000000Z")
    assert text.endswith("Z")
    assert parse_timestamp(text) == parse_instant(text) == time_us


@given(st.integers(MIN_TIME_US, MAX_TIME_US - 2), st.integers(MIN_TIME_US, MAX_TIME_US - 1))
def test_rendered_timestamps_sort_like_their_times(left: int, right: int) -> None:
    assert (render_timestamp(left) < render_timestamp(right)) == (left < right)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("20260131", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-W05-6", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026W05", datetime(2026, 1, 26, tzinfo=UTC)),
        ("2026-01-31T12", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("20260131T1200", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("20260131t120030,5z", datetime(2026, 1, 31, 12, 0, 30, 500_000, tzinfo=UTC)),
        ("2026-01-31 12:00:00.1234569", datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-01-31T12:00+0700", datetime(2026, 1, 31, 5, tzinfo=UTC)),
        ("2026-01-31T12:00-07", datetime(2026, 1, 31, 19, tzinfo=UTC)),
    ],
)
def test_instant_accepts_every_iso_8601_form(text: str, moment: datetime) -> None:
    assert parse_instant(text) == int(moment.timestamp() * 1_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026",
        "2026-1-1",
        "2026-13-01",
        "2026-02-30",
        "12:00",
        "0000-01-01",
        "0001-01-01T00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2026-01-31T12:00:00 +07:00",
        "2026-01-31T12:00:00 07:00",
        "2026-01-31\n",
        "٢٠٢٦-01-31",
        "2026-W54-1",
    ],
)
def test_invalid_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is "):
        parse_instant(text)
