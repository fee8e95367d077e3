"""Access logs of web servers are taken apart; anything else is kept as text."""

from typing import Any

import pytest
from unit.publisher.ship.records.feeding import payload_of, records_of

from publisher.ship.log_events import line_bytes
from publisher.ship.records.combined import CombinedFormat

AT = "[30/Nov/2026:13:00:00 +0100]"
UTC = "2026-11-30T12:00:00.000000Z"


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (
            f'127.0.0.1 - frank {AT} "GET /a.gif HTTP/1.0" 200 2326',
            {
                "remote": "127.0.0.1",
                "user": "frank",
                "request": "GET /a.gif HTTP/1.0",
                "method": "GET",
                "path": "/a.gif",
                "protocol": "HTTP/1.0",
                "status": 200,
                "bytes": 2326,
            },
        ),
        (
            f'::1 - - {AT} "POST /?q=a b HTTP/1.1" 304 - "https://x.test/\\"y\\"" "Lynx/2.9 (X)"',
            {
                "remote": "::1",
                "request": "POST /?q=a b HTTP/1.1",
                "method": "POST",
                "path": "/?q=a b",
                "protocol": "HTTP/1.1",
                "status": 304,
                "referer": 'https://x.test/\\"y\\"',
                "user_agent": "Lynx/2.9 (X)",
            },
        ),
        (
            f'10.0.0.1 - - {AT} "\\x16\\x03\\x01\\x00" 400 157 "-" "-" "10.0.0.9"',
            {
                "remote": "10.0.0.1",
                "request": "\\x16\\x03\\x01\\x00",
                "status": 400,
                "bytes": 157,
            },
        ),
        (f'a.test - - {AT} "-" 408 0 "-" "-"', {"remote": "a.test", "status": 408, "bytes": 0}),
        (
            f'1.2.3.4 - Ann Lee {AT} "GET /" 200 5 "" ""',
            {
                "remote": "1.2.3.4",
                "user": "Ann Lee",
                "request": "GET /",
                "method": "GET",
                "path": "/",
                "status": 200,
                "bytes": 5,
                "referer": "",
                "user_agent": "",
            },
        ),
    ],
)
def test_fields_of_a_request(line: str, fields: dict[str, Any]) -> None:
    (record,) = records_of(CombinedFormat(), line.encode() + b"\r\n")
    assert record.time == UTC
    assert record.refused == ""
    assert payload_of(record) == {
        "position": 0, "line": line, "eol": "\r\n", "time": AT[1:-1], **fields
    }  # fmt: skip
    assert line_bytes(payload_of(record)) == line.encode() + b"\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"2026/11/30 12:00:00 [error] 7#7: *1 open() failed",
        b'1.2.3.4 - - [30/11/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 5',
        f'1.2.3.4 - - {AT} "GET / HTTP/1.1" 20 5'.encode(),
        f'1.2.3.4 - - {AT} "GET / HTTP/1.1" 200 5 "-'.encode(),
        f'1.2.3.4 - - {AT} "GET /\\" 200 5'.encode(),
        f'1.2.3.4 - - {AT} "GET /'.encode() + b'\xff HTTP/1.1" 200 5',
        b"a - " + f' {AT} "'.encode() * 3000,
    ],
)
def test_line_that_does_not_match_is_stored_as_text(line: bytes) -> None:
    (record,) = records_of(CombinedFormat(), line + b"\n")
    assert record.refused
    assert line_bytes(payload_of(record)) == line + b"\n"


@pytest.mark.parametrize("day", ["31/Feb/2026", "30/Foo/2026"])
def test_time_that_does_not_exist_is_no_refusal(day: str) -> None:
    (record,) = records_of(
        CombinedFormat(), f'1.2.3.4 - - [{day}:12:00:00 +0000] "GET / HTTP/1.1" 200 5\n'.encode()
    )
    assert (record.refused, record.time, record.time_unread) == ("", None, True)
    assert payload_of(record)["time"].startswith(day)


def test_line_that_was_cut_is_stored_as_text() -> None:
    content = f'1.2.3.4 - - {AT} "GET / HTTP/1.1" 200 5 "-" "-" "{"a" * 140_000}"\n'.encode()
    records = records_of(CombinedFormat(), content)
    assert {record.refused for record in records} == {"it is longer than 131,072 bytes"}
    assert b"".join(line_bytes(payload_of(record)) for record in records) == content
