"""What Docker's json-file has is read; anything else is kept as text."""

import json

import pytest
from unit.publisher.ship.records.feeding import payload_of, records_of

from publisher.ship.log_events import line_bytes
from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.docker import DockerFormat

CONTENT = rb"""{"log":"GET /caf\u00e9 \u003c200\u003e\r\n","stream":"stdout","time":"2026-11-30T12:00:00.123456789Z"}
{"log":"\n","stream":"stderr","time":"2026-11-30T12:00:01Z"}
{"log":"with\n","stream":"stdout","attrs":{"tag":"a","n":"1.0"},"time":"2026-11-30T12:00:02.5Z"}
"""  # noqa: E501 - as Docker writes it


def test_lines_of_the_driver() -> None:
    first, second, third = records_of(DockerFormat(), CONTENT)
    assert payload_of(first) == {"position": 0, "stream": "stdout", "line": "GET /café <200>\r"}
    assert first.time == "2026-11-30T12:00:00.123456Z"
    assert payload_of(second) == {"position": 103, "stream": "stderr", "line": ""}
    assert payload_of(third) == {
        "position": 164,
        "stream": "stdout",
        "line": "with",
        "attrs": {"tag": "a", "n": "1.0"},
    }
    assert third.time == "2026-11-30T12:00:02.500000Z"


def test_line_of_more_than_one_piece_of_the_driver() -> None:
    texts = ["a" * 16_384, "a" * 16_384, "end\n"]
    content = "".join(
        json.dumps({"log": text, "stream": "stdout", "time": f"2026-11-30T12:00:0{n}Z"}) + "\n"
        for n, text in enumerate(texts)
    )
    (record,) = records_of(DockerFormat(), content.encode())
    assert payload_of(record)["line"] == "a" * 32_768 + "end"
    assert record.time == "2026-11-30T12:00:00.000000Z"


@pytest.mark.parametrize(
    "line",
    [
        b"no",
        b"",
        b"\0\0\0\0",
        b"[]",
        b"{}",
        b'{"log":"a\\n","time":"2026-11-30T12:00:00Z"}',
        b'{"log":"a\\n","stream":"stdin","time":"2026-11-30T12:00:00Z"}',
        b'{"log":7,"stream":"stdout","time":"2026-11-30T12:00:00Z"}',
        b'{"log":"a\\n","stream":"stdout","time":"2026-11-30T12:00:00Z","level":"info"}',
        b'{"log":"\xff\\n","stream":"stdout","time":"2026-11-30T12:00:00Z"}',
        b'{"log":"a\\n","stream":"stdout","time":"2026-11-30T12:0',
        b'{"log":"a\\n","stream":"stdout","attrs":' + b"[" * 9000 + b"]" * 9000 + b"}",
    ],
)
def test_line_that_is_none_of_the_driver_is_stored_as_text(line: bytes) -> None:
    (record,) = records_of(DockerFormat(), line + b"\n")
    assert record.refused
    assert "\n" not in record.refused
    assert line_bytes(payload_of(record)) == line + b"\n"


@pytest.mark.parametrize("time", ["", ',"time":"soon"', ',"time":"2026-12-31T23:59:60Z"'])
def test_time_that_can_not_be_read_is_no_refusal(time: str) -> None:
    (record,) = records_of(DockerFormat(), f'{{"log":"a\\n","stream":"stdout"{time}}}\n'.encode())
    assert (record.refused, record.time, record.time_unread) == ("", None, True)


def test_line_that_was_cut_is_stored_as_text() -> None:
    content = json.dumps({"log": "a" * MAX_PIECE_BYTES, "stream": "stdout"}).encode() + b"\n"
    records = records_of(DockerFormat(), content)
    assert {record.refused for record in records} == {"it is longer than 131,072 bytes"}
    assert b"".join(line_bytes(payload_of(record)) for record in records) == content
