"""Lines are records, byte for byte, with the time that stands at their beginning."""

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
from publisher.ship.records.lines import LinesFormat
from publisher.ship.records.record import Record
from publisher.ship.records.text import text_payload
from publisher.ship.records.times import Times

CONTENTS = st.lists(
    st.binary(max_size=20) | st.sampled_from([b"\n", b"\r\n", b"caf\xc3\xa9", b"2026-11-30 "]),
).map(b"".join)
TIMED = LinesFormat(Times(["asctime"], "UTC"))


@given(CONTENTS, st.data(), st.integers(1, 30), st.booleans())
def test_lines_give_every_byte_back(
    content: bytes, data: st.DataObject, max_line_bytes: int, timed: bool
) -> None:
    lines = lines_of(content, max_line_bytes)
    made = TIMED if timed else LinesFormat()
    reader = made.reader(NAMES)
    records = records_in_parts(reader, data.draw(fed_in_parts(lines)))
    assert b"".join(line_bytes(payload_of(record)) for record in records) == content
    assert [record.lines for record in records] == [(line,) for line in lines]
    assert reader.unfinished is None
    assert reader.expire(1e9) == []
    for record, line in zip(records, lines, strict=True):
        assert record.payload == text_payload(*line[:3])
        assert record[:2] == (line.position, line.chain)
        assert record[4:7] == (None, None, None)


def test_record_of_a_plain_line_is_what_the_constructor_makes() -> None:
    (line,) = lines_of(b"one\n")
    payload = b'{"position":0,"line":"one"}'
    assert all_records(LinesFormat().reader(NAMES), [line]) == [
        Record(0, line.chain, payload, None, None, None, None, (line,))
    ]


@pytest.mark.parametrize(
    ("line", "time", "unread"),
    [
        (b"2026-11-30 12:00:00,123 INFO begun", "2026-11-30T12:00:00.123000Z", False),
        (b" \t[2026-11-30 12:00:00] INFO", "2026-11-30T12:00:00.000000Z", False),
        (b"2026-02-30 12:00:00,123 INFO", None, True),
        (b"begun at 2026-11-30 12:00:00,123", None, True),
        (b"\xff 2026-11-30 12:00:00,123", None, True),
        (b'  File "app.py", line 7, in <module>', None, False),
        (b"\tat java.base/java.lang.Thread.run", None, False),
        (b"", None, False),
    ],
)
def test_time_stands_at_the_beginning_of_a_line(
    line: bytes, time: str | None, unread: bool
) -> None:
    (record,) = records_of(TIMED, line + b"\n")
    assert (record.time, record.time_unread, record.refused) == (time, unread, "")


def test_part_of_a_cut_line_has_no_time_of_its_own() -> None:
    lines = lines_of(b"x" * 19 + b"2026-11-30 12:00:00\n", 19)
    records = all_records(TIMED.reader(NAMES), lines)
    assert [(record.time, record.time_unread) for record in records] == [
        (None, True),
        (None, False),
    ]
