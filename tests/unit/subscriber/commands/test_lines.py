"""The lines of events: exact for programs, harmless for terminals."""

import json

import pytest
from hypothesis import given
from support.json_texts import objects, values

from subscriber.commands.lines import TextLine, harmless_json_line, json_line
from subscriber.events import Event, parse_event


def event_of(payload: str, topic: str = "orders", source: str = "shop") -> Event:
    text = (
        f'{{"topic":{json.dumps(topic)},"event_id":"a","timestamp":"2026-01-31T12:00:00.123456Z",'
        f'"source":{json.dumps(source)},"payload":{payload},"offset":7,'
        '"ts_ingest":"2026-01-31T12:00:01Z"}'
    )
    return parse_event(text.encode())


def on_one_line(text: str) -> str:
    """A payload as an aggregator gives it in a stream."""
    return text.replace("\r", " ").replace("\n", " ")


def exact(text: str | bytes) -> object:
    """The value of a JSON text, with its numbers as their text."""
    return json.loads(text, parse_int=str, parse_float=str)


PAYLOADS = objects(values()).map(on_one_line)


@given(PAYLOADS)
def test_lines_are_exact_or_printable_whatever_an_event_holds(payload: str) -> None:
    event = event_of(payload)
    assert json_line(event) == event.json + b"\n"
    line = harmless_json_line(event).decode()
    assert exact(line) == exact(event.json)
    for harmless in line, TextLine(has_colors=False).render(event).decode():
        assert harmless.endswith("\n")
        assert harmless[:-1].isprintable()


def test_text_line_has_time_topic_offset_source_and_payload() -> None:
    event = event_of('{"n": [1, 2.50], "s": "é \\u001b"}', source="web\u202e1")
    assert TextLine(has_colors=False).render(event).decode() == (
        '2026-01-31T12:00:00.123Z orders 7 web\\u202e1 {"n":[1,2.5],"s":"é \\u001b"}\n'
    )


@pytest.mark.parametrize("source", ["\x1b[2J", "\x9b31m", "a\u2028b", "\U000e0041"])
def test_colors_are_the_only_control_characters(source: str) -> None:
    line = TextLine(has_colors=True).render(event_of("{}", source=source)).decode()
    without = line.removesuffix("\n")
    for color in "2", "36", "33", "32":
        assert without.count(f"\x1b[{color}m") == 1
        without = without.replace(f"\x1b[{color}m", "")
    assert without.count("\x1b[0m") == 4
    assert without.replace("\x1b[0m", "").isprintable()
    assert f" {json.dumps(source)[1:-1]} " in without.replace("\x1b[0m", "")
