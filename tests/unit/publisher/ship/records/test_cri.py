"""What containerd and CRI-O write is read; anything else is kept as text."""

import base64

import pytest
from unit.publisher.ship.records.feeding import payload_of, records_of

from publisher.ship.log_events import line_bytes
from publisher.ship.records.cri import CriFormat
from publisher.ship.records.cutting import MAX_PIECE_BYTES

TIME = b"2026-11-30T12:00:00.123456789Z"
CONTENT = (
    TIME + b' stdout P {"a": \n'
    b"2026-11-30T13:00:01.5+01:00 stderr F  indented\n"
    b"2026-11-30T12:00:02Z stdout F:x:y 1}\n"
)


def test_lines_of_a_runtime() -> None:
    second, first = records_of(CriFormat(), CONTENT)
    assert payload_of(first) == {"position": 0, "stream": "stdout", "line": '{"a": 1}'}
    assert first.time == "2026-11-30T12:00:00.123456Z"
    assert payload_of(second) == {"position": 47, "stream": "stderr", "line": " indented"}
    assert second.time == "2026-11-30T12:00:01.500000Z"


@pytest.mark.parametrize(
    ("rest", "line"),
    [
        (b"stdout F ", ""),
        (b"stdout F", ""),
        (b"stderr F:tag P x", "P x"),
        (b"stdout F a\rb", "a\rb"),
        (b"stdout F a\r", "a\r"),
        (b"stdout P a", "a"),
        (b"stdout P:1 ", ""),
    ],
)
def test_content_of_a_line(rest: bytes, line: str) -> None:
    (record,) = records_of(CriFormat(), TIME + b" " + rest + b"\n")
    assert record.refused == ""
    assert payload_of(record)["line"] == line


def test_character_that_was_cut_by_the_runtime_is_whole_again() -> None:
    content = TIME + b" stdout P caf\xc3\n" + TIME + b" stdout F \xa9\n"
    (record,) = records_of(CriFormat(), content)
    assert payload_of(record)["line"] == "café"
    (half,) = records_of(CriFormat(), TIME + b" stdout P caf\xc3\n")
    assert payload_of(half) == {
        "position": 0,
        "stream": "stdout",
        "line_base64": base64.b64encode(b"caf\xc3").decode(),
    }


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"plain",
        TIME + b" stdin F a",
        TIME + b" stdout X a",
        TIME + b" stdout FF a",
        TIME + b" stdout",
        b"2026-11-30 12:00:00 stdout F a",
        b"2026-11-30T12:00:00 stdout F a",
    ],
)
def test_line_that_is_none_of_a_runtime_is_stored_as_text(line: bytes) -> None:
    (record,) = records_of(CriFormat(), line + b"\r\n")
    assert record.refused
    assert line_bytes(payload_of(record)) == line + b"\r\n"


def test_time_that_can_not_be_read_is_no_refusal() -> None:
    (record,) = records_of(CriFormat(), b"2026-12-31T23:59:60Z stdout F a\n")
    assert (record.refused, record.time, record.time_unread) == ("", None, True)


def test_line_that_was_cut_is_stored_as_text() -> None:
    content = TIME + b" stdout F " + b"a" * MAX_PIECE_BYTES + b"\n"
    records = records_of(CriFormat(), content)
    assert {record.refused for record in records} == {"it is longer than 131,072 bytes"}
    assert b"".join(line_bytes(payload_of(record)) for record in records) == content
