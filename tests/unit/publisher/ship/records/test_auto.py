"""The first line of a content decides its format."""

import pytest
from unit.publisher.ship.records.feeding import (
    NAMES,
    all_records,
    lines_of,
    payload_of,
    records_of,
)

from publisher.ship.log_events import line_bytes
from publisher.ship.records.auto import AutoFormat
from publisher.ship.records.source import SourceTemplate

CRI = b"2026-11-30T12:00:00Z stdout F a"
DOCKER = b'{"log":"a\\n","stream":"stdout","time":"2026-11-30T12:00:00Z"}'
JOURNAL = (
    b'{"__REALTIME_TIMESTAMP":"1700000000000200","__MONOTONIC_TIMESTAMP":"200","_BOOT_ID":"'
    + b"0" * 32
    + b'","_HOSTNAME":"h","MESSAGE":"a"}'
)
COMBINED = b'127.0.0.1 - - [30/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 5'
EACH = [
    (CRI, "cri"),
    (DOCKER, "docker"),
    (JOURNAL, "journal"),
    (COMBINED, "combined"),
    (b"plain", "lines"),
    (b"", "lines"),
    (b"\xff", "lines"),
    (b'{"id":1}', "lines"),
    (b'{"a":' + b"[" * 9000, "lines"),
    (DOCKER[:-3], "lines"),
]


@pytest.mark.parametrize(("line", "name"), EACH)
def test_first_line_decides(line: bytes, name: str) -> None:
    made = AutoFormat()
    decided = made.decide(line)
    assert decided.name == name
    content = line + b"\nplain\n" + CRI + b"\n"
    lines = lines_of(content)
    reader = made.reader(NAMES)
    assert reader.feed([], 0.0) == []
    records = [record for each in lines for record in reader.feed([each], 0.0)]
    assert records + reader.finish() == all_records(decided.reader(NAMES), lines)


def test_what_does_not_fit_later_is_stored_as_text() -> None:
    _, plain, other = records_of(AutoFormat(), CRI + b"\nplain\n" + DOCKER + b"\n")
    assert plain.refused
    assert line_bytes(payload_of(plain)) == b"plain\n"
    assert other.refused
    first, second = records_of(AutoFormat(), b"plain\n" + CRI + b"\n")
    assert (first.refused, second.refused) == ("", "")
    assert payload_of(second)["line"] == CRI.decode()


def test_reader_that_begins_further_on_is_told_the_first_line() -> None:
    lines = lines_of(b"plain\n" + CRI + b"\n")
    whole = all_records(AutoFormat().reader(NAMES), lines)
    reader = AutoFormat().reader(NAMES._replace(first_line=b"plain"))
    assert all_records(reader, lines[1:]) == whole[1:]


def test_reader_of_nothing_gives_nothing() -> None:
    reader = AutoFormat().reader(NAMES)
    assert reader.unfinished is None
    assert reader.expire(9.0) == []
    assert reader.finish() == []


def test_pieces_wait_and_expire() -> None:
    reader = AutoFormat().reader(NAMES)
    (line,) = lines_of(b"2026-11-30T12:00:00Z stdout P a\n")
    assert reader.feed([line], 0.0) == []
    assert reader.unfinished == line
    assert len(reader.expire(5.0)) == 1


def test_template_makes_the_source_of_a_journal() -> None:
    (record,) = records_of(AutoFormat(), JOURNAL + b"\n")
    assert record.source == "h:-"
    (record,) = records_of(AutoFormat(SourceTemplate.parse("all")), JOURNAL + b"\n")
    assert record.source is None
