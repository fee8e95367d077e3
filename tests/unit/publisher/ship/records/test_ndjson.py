"""JSON objects are payloads as they are; anything else is kept as text."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.json_texts import strings
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
from publisher.ship.records.ndjson import MAX_RECORD_BYTES, NdjsonFormat
from publisher.ship.records.record import Record
from publisher.ship.records.source import SourceTemplate
from publisher.ship.records.times import Times


def record_of(content: bytes, **options: str) -> Record:
    (record,) = records_of(NdjsonFormat(**options), content)  # type: ignore[arg-type]
    return record


def refusal_of(content: bytes, **options: str) -> str:
    record = record_of(content, **options)
    assert line_bytes(payload_of(record)) == content
    assert record[3:7] == (None,) * 4
    assert "\n" not in record.refused
    return record.refused


@given(strings(surrogates=False), strings())
def test_record_is_the_payload_as_it_is(name: str, value: str) -> None:
    text = f'{{{name}: 1.10, "b": 12345678901234567890, {name}: {value}}}'.encode()
    record = record_of(b"  " + text + b" \r\n")
    assert record.payload == text
    assert record.refused == ""
    assert record[3:7] == (None,) * 4
    assert not record.time_unread


def test_fields_of_a_record() -> None:
    record = record_of(
        b'{"request": {"id": 7.0}, "at": "2026-03-01T13:00:00+01:00", "service": "shop"}\n',
        id_field="request.id",
        topic_field="service",
        time_field="at",
    )
    assert record.event_id == "7.0"
    assert record.topic == "shop"
    assert record.time == "2026-03-01T12:00:00.000000Z"
    assert not record.time_unread


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no", "it is not JSON (Expecting value, character 0)"),
        (b"[1]", "it is JSON, but not an object"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"id": "\xff"}', "it is not UTF-8 (byte 8)"),
        (b"{}", "it has no field 'id'"),
        (b'{"id": null}', "its field 'id' is null, not a string or a number"),
        (b'{"id": ""}', "its field 'id' is empty"),
        (b'{"id": [1]}', "its field 'id' is an array, not a string or a number"),
        (b'{"id": 1, "a": ' + b"[" * 9000 + b"]" * 9000 + b"}", "it is nested too deeply"),
        (b"\0\0\0", "it is not JSON (Expecting value, character 0)"),
    ],
)
def test_line_that_is_no_record_is_stored_as_text(line: bytes, reason: str) -> None:
    assert refusal_of(line + b"\r\n", id_field="id") == reason


def test_line_that_is_too_long_is_stored_as_text() -> None:
    made = NdjsonFormat()
    content = b'{"a":"' + b"x" * (MAX_RECORD_BYTES + 300_000) + b'"}\n{}\n'
    lines = lines_of(content, made.max_line_bytes)
    records = all_records(made.reader(NAMES), lines)
    assert {record.refused for record in records[:-1]} == {"it is longer than 1,048,576 bytes"}
    assert b"".join(line_bytes(payload_of(r)) for r in records[:-1]) == content[:-3]
    assert records[-1].payload == b"{}"
    assert [line for record in records for line in record.lines] == lines


def test_rest_of_a_line_is_never_a_record() -> None:
    made = NdjsonFormat(max_line_bytes=8)
    records = all_records(made.reader(NAMES), lines_of(b'{"a": 1}{}\n', 8))
    assert [record.refused for record in records] == ["", "it is longer than 8 bytes"]
    assert line_bytes(payload_of(records[1])) == b"{}\n"


def test_record_of_the_greatest_length_is_a_record() -> None:
    text = b'{"a":"' + b"x" * (MAX_RECORD_BYTES - 8) + b'"}'
    assert [record.payload for record in records_of(NdjsonFormat(), text)] == [text]


def test_blank_lines_are_no_records() -> None:
    assert records_of(NdjsonFormat(), b"\n \t\r\n\n") == []


@pytest.mark.parametrize("name", ["\x00", "a\x7f", "\ud800", "x" * 257, "é\n"])
def test_id_that_breaks_the_rules_is_a_digest(name: str) -> None:
    record = record_of(json.dumps({"id": name}).encode() + b"\n", id_field="id")
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    assert record.event_id == f"sha256:{digest}"
    assert payload_of(record) == {"id": name}


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ('"a/b"', f"a_b-{hashlib.sha256(b'a/b').hexdigest()[:8]}"),
        ("12", "12"),
        ("null", None),
        ("{}", None),
    ],
)
def test_topic_is_made_one_or_is_that_of_the_command(text: str, topic: str | None) -> None:
    assert record_of(f'{{"t": {text}}}\n'.encode(), topic_field="t").topic == topic
    assert record_of(b"{}\n", topic_field="t").topic is None


@pytest.mark.parametrize("text", ['"soon"', "null", "{}", "1e40", '"2026-12-31T23:59:60Z"'])
def test_time_that_is_missing_or_unreadable_is_no_refusal(text: str) -> None:
    for line in (f'{{"at": {text}}}\n', "{}\n"):
        record = record_of(line.encode(), time_field="at")
        assert (record.time, record.time_unread, record.refused) == (None, True, "")


def test_time_is_read_in_the_formats_that_were_given() -> None:
    made = NdjsonFormat(time_field="at", times=Times(["epoch-ms"]))
    first, second = records_of(made, b'{"at": 1700000000123}\n{"at": "2026-03-01T12:00:00Z"}\n')
    assert first.time == "2023-11-14T22:13:20.123000Z"
    assert second.time_unread


def test_source_is_made_of_the_record() -> None:
    made = NdjsonFormat(source=SourceTemplate.parse("{host}/{field:k8s.pod}"))
    records = records_of(made, b'{"k8s": {"pod": "a-1"}}\n{}\nno\n')
    assert [record.source for record in records] == ["web-1/a-1", "web-1/-", None]
    made = NdjsonFormat(source=SourceTemplate.parse("{host}"))
    assert [record.source for record in records_of(made, b"{}\n")] == [None]


@given(st.data())
def test_records_do_not_depend_on_how_lines_arrive(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.sampled_from([b'{"id":1}\n', b"{}\n", b"\n", b"x", b"no\r\n"])))
    lines = lines_of(b"".join(texts))
    made = NdjsonFormat(id_field="id")
    whole = all_records(made.reader(NAMES), lines)
    assert records_in_parts(made.reader(NAMES), data.draw(fed_in_parts(lines))) == whole
