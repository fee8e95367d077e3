"""Times of records are read in the first format that fits."""

import pytest

from publisher.ship.records.times import Times

AT = "2026-11-30T12:00:00.000000Z"
AT_NOON = "2026-11-30T12:00:00.123000Z"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-30T12:00:00Z", AT),
        ("2026-11-30 12:00:00,123", AT_NOON),
        ("2026-11-30 13:00:00.123 +0100", AT_NOON),
        ("2026-11-30 13:00:00.123+01", AT_NOON),
        ("1796040000", "2026-11-30T12:00:00.000000Z"),
        ("1796040000.123", AT_NOON),
        ("1796040000123", AT_NOON),
        ("1796040000123000", AT_NOON),
        ("1796040000123000999", AT_NOON),
        ("", None),
        (" 2026-11-30T12:00:00Z", None),
        ("2026-11-30T12:00:00Z\n", None),
        ("30/Nov/2026", None),
        ("0x10", None),
        ("NaN", None),
    ],
)
def test_field_without_a_format(text: str, time: str | None) -> None:
    assert Times().of_field(text) == time


@pytest.mark.parametrize(
    ("name", "text", "time"),
    [
        ("rfc3339", "2026-11-30T12:00:00Z", AT),
        ("rfc3339", "2026-11-30 12:00:00", None),
        ("rfc3339", "1796040000", None),
        ("epoch-s", "1796040000.123", AT_NOON),
        ("epoch-s", "1796040000123", None),
        ("epoch-ms", "1796040000123", AT_NOON),
        ("epoch-us", "1796040000123000", AT_NOON),
        ("epoch-ns", "1796040000123000000", AT_NOON),
        ("asctime", "2026-11-30 12:00:00,123", AT_NOON),
        ("asctime", "2026-11-30 12:00:00", AT),
        ("asctime", "2026-11-30T12:00:00", None),
        ("%d.%m.%Y %H Uhr", "30.11.2026 12 Uhr", AT),
    ],
)
def test_field_in_a_format(name: str, text: str, time: str | None) -> None:
    assert Times([name], "UTC").of_field(text) == time


def test_formats_are_tried_in_turn() -> None:
    times = Times(["%m/%d/%Y", "%d/%m/%Y", "epoch-ms"], "UTC")
    assert times.of_field("11/12/2026") == "2026-11-12T00:00:00.000000Z"
    assert times.of_field("30/11/2026") == "2026-11-30T00:00:00.000000Z"
    assert times.of_field("1796040000123") == AT_NOON
    assert times.of_field("soon") is None
    assert times.of_line(b"31/11/2026") is None
    either = Times(["%d/%m/%y", "%y/%m/%d"], "UTC")
    assert either.of_field("31/11/30") == "2031-11-30T00:00:00.000000Z"
    assert either.of_line(b"31/11/30 a") == "2031-11-30T00:00:00.000000Z"


def test_zone_is_that_of_times_without_one() -> None:
    times = Times(["rfc3339", "asctime"], "Europe/Berlin")
    assert times.of_field("2026-11-30T13:00:00") == AT
    assert times.of_field("2026-11-30 13:00:00") == AT
    assert times.of_field("2026-11-30T12:00:00Z") == AT
    assert Times((), "Europe/Berlin").of_field("2026-11-30 13:00:00") == AT


@pytest.mark.usefixtures("machine_in_new_york")
def test_zone_without_another_is_that_of_the_machine_but_for_rfc3339() -> None:
    assert Times(["rfc3339"]).of_field("2026-11-30T12:00:00") == AT
    assert Times().of_field("2026-11-30 12:00:00") == AT
    assert Times(["asctime"]).of_field("2026-11-30 07:00:00") == AT
    assert Times(["%F %T"]).of_line(b"2026-11-30 07:00:00 a") == AT


@pytest.mark.parametrize(
    ("name", "line", "time"),
    [
        ("asctime", b"2026-11-30 12:00:00,123 INFO", AT_NOON),
        ("asctime", b" \t[ 2026-11-30 12:00:00,123] INFO", AT_NOON),
        ("asctime", b"[[2026-11-30 12:00:00,123]", None),
        ("asctime", b"at 2026-11-30 12:00:00", None),
        ("asctime", b"2026-11-30 12:00:001", None),
        ("rfc3339", b"2026-11-30T12:00:00Z\xff\xfe", AT),
        ("rfc3339", b"2026-11-30T12:00:00.123456789+00:00 stdout", "2026-11-30T12:00:00.123456Z"),
        ("rfc3339", b"2026-11-30T12:00:00 a", AT),
        ("epoch-s", b"1796040000.123 a", AT_NOON),
        ("epoch-s", b"1796040000.123: a", AT_NOON),
        ("epoch-s", b"1796040000", AT),
        ("epoch-s", b"1796040000,200", AT),
        ("epoch-s", b"[1796040000] a", AT),
        ("epoch-s", b"12:00:00 a", None),
        ("epoch-s", b"30/11/2026", None),
        ("epoch-s", b"1796040000a", None),
        ("epoch-s", b"1796040000.123.4", None),
        ("%b %e %T", b"no", None),
        ("[%a %b %d %H:%M:%S %Y]", b"[Mon Nov 30 12:00:00 2026] [error] a", AT),
        ("%a %b %d %H:%M:%S %Y", b"[Mon Nov 30 12:00:00 2026] [error] a", AT),
        ("%y%m%d %H%M%S", b"261130 120000 148 INFO", AT),
        ("%y%m%d %H%M%S", b"261130 1200000", None),
        ("%d/%b/%Y:%T %z", b"30/Nov/2026:12:00:00 +0000 GET", AT),
        ("%H Uhr am %d.%m.%Y", b"12 Uhr am 30.11.2026: a", AT),
        ("%Y/%m/%d", b"2026/11/30" + b"x" * 100_000, "2026-11-30T00:00:00.000000Z"),
        ("%Y/%m/%d", b"", None),
    ],
)
def test_time_at_the_beginning_of_a_line(name: str, line: bytes, time: str | None) -> None:
    assert Times([name], "UTC").of_line(line) == time


@pytest.mark.parametrize("name", ["iso", "", "epoch"])
def test_format_that_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is none of rfc3339, epoch-s") as refused:
        Times([name])
    assert repr(name) in str(refused.value)
    assert "\n" not in str(refused.value)
