"""Several lines are one record, and every byte comes back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.publisher.ship.records.feeding import (
    NAMES,
    all_records,
    fed_in_parts,
    lines_of,
    payload_of,
    records_in_parts,
    records_of,
)

from publisher.ship.log_events import line_bytes
from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.lines import LinesFormat
from publisher.ship.records.multiline import MultilineReader, RecordStart
from publisher.ship.records.record import Line, Record
from publisher.ship.records.times import Times

START = r"\d{4}-"
TRACE = (
    b"2026-11-30 12:00:00,123 ERROR failed\r\n"
    b"Traceback (most recent call last):\n"
    b'  File "app.py", line 7, in <module>\n'
    b"\n"
    b"ValueError: 2026-11-30\n"
    b"2026-11-30 12:00:01,000 INFO on we go\n"
)
CONTENTS = st.lists(
    st.sampled_from([b"2026-", b"\n", b"\n", b"\r\n", b"\r", b"caf\xc3\xa9", b"\xff", b"a" * 9])
).map(b"".join)


def multiline(*, times: Times | None = None) -> LinesFormat:
    return LinesFormat(times, RecordStart(START))


def joined_by_the_model(lines: list[Line]) -> list[list[Line]]:
    """Say which lines are one record."""
    groups: list[list[Line]] = []
    for line in lines:
        text = line.data.decode(errors="replace")
        alone = not line.begins or (groups and not groups[-1][-1].begins)
        if not groups or alone or re.match(START, text):
            groups.append([line])
        else:
            groups[-1].append(line)
    return groups


@given(CONTENTS, st.data(), st.integers(1, 30))
def test_multiline_gives_every_byte_back(
    content: bytes, data: st.DataObject, max_line_bytes: int
) -> None:
    lines = lines_of(content, max_line_bytes)
    records = records_in_parts(multiline().reader(NAMES), data.draw(fed_in_parts(lines)))
    assert b"".join(line_bytes(payload_of(record)) for record in records) == content
    assert [list(record.lines) for record in records] == joined_by_the_model(lines)
    for record in records:
        assert record.position == payload_of(record)["position"] == record.lines[0].position
        assert record.chain == record.lines[-1].chain


@given(CONTENTS, st.integers(0, 20))
def test_another_reader_goes_on_at_the_unfinished_line(content: bytes, stop: int) -> None:
    lines = lines_of(content)
    stop = min(stop, len(lines))
    whole = all_records(multiline().reader(NAMES), lines)
    reader = multiline().reader(NAMES)
    before = reader.feed(lines[:stop], 0.0)
    unfinished = reader.unfinished
    resumed = stop if unfinished is None else lines.index(unfinished)
    assert before + all_records(multiline().reader(NAMES), lines[resumed:]) == whole


def test_stack_trace_is_one_record_with_the_time_of_its_first_line() -> None:
    records = records_of(multiline(times=Times(["asctime"], "UTC")), TRACE)
    first, second = records
    assert payload_of(first) == {
        "position": 0,
        "line": "2026-11-30 12:00:00,123 ERROR failed\r\nTraceback (most recent call last):\n"
        '  File "app.py", line 7, in <module>\n\nValueError: 2026-11-30',
    }
    assert first.time == "2026-11-30T12:00:00.123000Z"
    assert payload_of(second)["line"] == "2026-11-30 12:00:01,000 INFO on we go"
    assert [record.time_unread for record in records] == [False, False]


def test_only_a_line_that_begins_a_record_should_have_a_time() -> None:
    records = records_of(multiline(times=Times(["asctime"], "UTC")), b"heading\n2026-oops\nmore\n")
    assert [(record.time, record.time_unread) for record in records] == [
        (None, False),
        (None, True),
    ]


def test_open_record_is_complete_five_seconds_after_its_last_line() -> None:
    lines = lines_of(b"2026- a\nb\nc\n")
    reader = multiline().reader(NAMES)
    assert reader.feed(lines[:1], 10.0) == []
    assert reader.feed(lines[1:2], 14.0) == []
    assert reader.expire(18.9) == []
    assert reader.unfinished == lines[0]
    (record,) = reader.expire(19.0)
    assert payload_of(record)["line"] == "2026- a\nb"
    assert [reader.unfinished] == [None]
    assert reader.expire(99.0) == []
    assert reader.feed(lines[2:], 100.0) == []
    (rest,) = reader.finish()
    assert payload_of(rest) == {"position": 10, "line": "c"}


def sizes(records: list[Record]) -> list[int]:
    return [len(payload_of(record)["line"]) for record in records]


@pytest.mark.parametrize(("second", "expected"), [(b"b", [1001]), (b"bb", [999, 2])])
def test_long_record_is_cut_at_a_line(
    monkeypatch: pytest.MonkeyPatch, second: bytes, expected: list[int]
) -> None:
    monkeypatch.setattr(f"{MultilineReader.__module__}.MAX_PIECE_BYTES", 1001)
    content = b"2026-" + b"a" * 994 + b"\n" + second + b"\n"
    records = records_of(multiline(), content)
    assert sizes(records) == expected
    assert b"".join(line_bytes(payload_of(record)) for record in records) == content


def test_the_longest_record_is_as_long_as_the_longest_line() -> None:
    half = b"a" * (MAX_PIECE_BYTES // 2 - 1) + b"\n"
    assert sizes(records_of(multiline(), half * 5)) == [MAX_PIECE_BYTES - 1] * 2 + [len(half) - 1]


@pytest.mark.parametrize("pattern", ["(", "*", "(?P<a>b)(?P<a>c)", "a{99999999999999}"])
def test_pattern_that_is_no_regular_expression_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no regular expression") as refused:
        RecordStart(pattern)
    assert repr(pattern) in str(refused.value)
