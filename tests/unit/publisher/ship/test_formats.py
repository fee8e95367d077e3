"""What a line becomes: text byte for byte, a record with the id that it has."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from publisher.ship.formats import LineRefused, NdjsonFormat, TextFormat
from publisher.ship.lineage import Line, advance, start
from publisher.ship.lines import Splitter
from publisher.ship.log_events import line_bytes


def lines_of(content: bytes, max_piece_bytes: int) -> list[Line]:
    splitter = Splitter(max_piece_bytes=max_piece_bytes)
    progress = start("app")
    lines = []
    for piece in splitter.feed(content) + splitter.finish():
        lines.append(advance(progress, piece))
        progress = lines[-1].progress
    return lines


def event_of(content: bytes, **fields: str) -> dict[str, Any]:
    made = NdjsonFormat(
        "logs", fields.get("id_field"), fields.get("topic_field"), fields.get("time_field")
    )
    (line,) = lines_of(content, made.max_piece_bytes)
    event = made.event(line, "app")
    assert event is not None
    parsed: dict[str, Any] = json.loads(event.line)
    assert (event.topic, event.event_id) == (parsed["topic"], parsed["event_id"])
    return parsed


def refusal_of(content: bytes, **fields: str) -> str:
    with pytest.raises(LineRefused) as refused:
        event_of(content, **fields)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("content", [b"caf\xc3\xa9\n", b"\xff\r\n", b"\n", b"half", b"\x00\n"])
def test_a_line_of_text_is_an_event(content: bytes) -> None:
    (line,) = lines_of(content, TextFormat("logs").max_piece_bytes)
    event = TextFormat("logs").event(line, "app")
    assert event is not None
    parsed = json.loads(event.line)
    timestamp = parsed.pop("timestamp")
    assert line_bytes(parsed.pop("payload")) == content
    assert parsed == {"topic": "logs", "event_id": line.line_id, "source": "app"}
    assert (event.topic, event.event_id) == ("logs", line.line_id)
    assert len(timestamp) == len("2026-01-31T12:00:00.000000Z")


def test_a_record_is_the_payload_as_it_is() -> None:
    text = rb'{"b": 1.10, "a": 12345678901234567890, "b": "\ud800", "e": "\u0041"}'
    made = NdjsonFormat("logs")
    (line,) = lines_of(b"  " + text + b" \r\n", made.max_piece_bytes)
    event = made.event(line, "app")
    assert event is not None
    assert text in event.line
    assert event.event_id == line.line_id


def test_the_fields_of_a_record() -> None:
    event = event_of(
        b'{"request": {"id": "r-1"}, "at": "2026-03-01T12:00:00Z", "service": "shop"}\n',
        id_field="request.id",
        topic_field="service",
        time_field="at",
    )
    assert event["event_id"] == "r-1"
    assert event["topic"] == "shop"
    assert event["timestamp"] == "2026-03-01T12:00:00Z"
    assert event["source"] == "app"


@pytest.mark.parametrize(
    ("record", "path", "value"),
    [
        ('{"a.b": "dotted", "a": {"b": "inner"}}', "a.b", "dotted"),
        ('{"a": {"b.c": "x"}}', "a.b.c", "x"),
        ('{"a": {"b": {"c": "x"}}}', "a.b.c", "x"),
        ('{"id": 12345678901234567890}', "id", "12345678901234567890"),
        ('{"id": 1.10}', "id", "1.10"),
        ('{"id": 1E2}', "id", "1E2"),
        ('{"id": -0}', "id", "-0"),
        ('{"": "x"}', "", "x"),
        ('{"id": "first", "id": "last"}', "id", "last"),
    ],
)
def test_the_member_that_a_path_names(record: str, path: str, value: str) -> None:
    assert event_of(f"{record}\n".encode(), id_field=path)["event_id"] == value


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ("{}", "it has no field 'a.id'"),
        ('{"a": {}}', "it has no field 'id'"),
        ('{"a": "text"}', "it has no field 'a.id'"),
        ('{"a": {"id": null}}', "its field 'a.id' is null, not a string or a number"),
        ('{"a": {"id": true}}', "its field 'a.id' is a boolean, not a string or a number"),
        ('{"a": {"id": {}}}', "its field 'a.id' is an object, not a string or a number"),
        ('{"a": {"id": []}}', "its field 'a.id' is an array, not a string or a number"),
        ("not a record", "it is not JSON (Expecting value, character 0)"),
        ("[1]", "it is JSON, but not an object"),
        ('"text"', "it is JSON, but not an object"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1', "it is not JSON"),
        ('{"a": 1} {}', "it is not JSON"),
    ],
)
def test_what_is_no_record_is_refused_in_a_sentence(record: str, sentence: str) -> None:
    assert sentence in refusal_of(f"{record}\n".encode(), id_field="a.id")


def test_bytes_and_depths_that_are_no_record() -> None:
    assert refusal_of(b'{"a": "\xff"}\n') == "it is not UTF-8 (byte 7)"
    assert refusal_of(b'{"a":' * 100_000 + b"\n") == "it is nested too deeply"


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \t \n", b"  "])
def test_a_blank_line_is_no_event(blank: bytes) -> None:
    (line,) = lines_of(blank, NdjsonFormat("logs").max_piece_bytes)
    assert NdjsonFormat("logs").event(line, "app") is None


def test_a_record_that_is_too_long_is_refused_once_and_the_next_is_taken() -> None:
    made = NdjsonFormat("logs", id_field="id", max_piece_bytes=64)
    content = b'{"id": "1"}\n{"id": "%b"}\n{"id": "3"}\n' % (b"x" * 300)
    outcomes: list[str | None] = []
    for line in lines_of(content, made.max_piece_bytes):
        try:
            event = made.event(line, "app")
            outcomes.append(event.event_id if event else None)
        except LineRefused as error:
            outcomes.append(str(error))
    assert outcomes == ["1", "it is longer than 64 bytes", *[None] * 4, "3"]


def test_a_record_of_the_full_size_is_taken() -> None:
    made = NdjsonFormat("logs", max_piece_bytes=64)
    content = b'{"a": "%b"}\n' % (b"x" * 55)
    (line,) = lines_of(content, 64)
    assert len(line.piece.data) == 64
    assert made.event(line, "app") is not None


def test_the_event_on_the_page_is_what_is_sent() -> None:
    page = (Path(__file__).parents[4] / "docs" / "use" / "ship.md").read_text(encoding="utf-8")
    found = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert found
    shown = json.loads(found[1])
    first, second = Splitter().feed("2026-03-01 start\nGET /café 200\n".encode())
    line = advance(advance(start("app.log"), first).progress, second)
    event = TextFormat("logs").event(line, "app.log")
    assert event is not None
    assert shown | {"timestamp": ""} == json.loads(event.line) | {"timestamp": ""}
