"""A double takes the events that an aggregator takes, and gives them back as it does."""

import json
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from support.double_rules import NAMES, SOURCES, TIMES, outcome

from aggregator.wire.event_encoding import encode_lines
from aggregator.wire.event_rules import Limits
from aggregator.wire.publish_body import parse_publish
from storage.model import Event, EventColumns
from subscriber.events import parse_event
from subscriber.testing import InMemoryAggregator
from subscriber.testing.events import new_event, render_event

STORED_US = 1_769_860_800_000_005
GOOD: dict[str, Any] = {
    "topic": "a",
    "event_id": "i",
    "source": "s",
    "timestamp": "2026-01-31T12:00:00Z",
    "payload": b"{}",
}
PAYLOADS = [
    b"{}",
    b' { "a" : 1.50,\r\n"b":[] }\n',
    b'{"a":"\\ud800"}',
    b'{"a":1,"a":2}',
    b'{"a":' + b"9" * 5000 + b"}",
    '{"é":"\N{GRINNING FACE}"}'.encode(),
    b"[]",
    b"{",
    b"",
    b"5",
    b'{"a":NaN}',
    b'{"a":01}',
    b'{"a":"\n"}',
    b"\xff",
    b'{"a":' * 128 + b"1" + b"}" * 128,
    b'{"a":' * 127 + b"[]" + b"}" * 127,
    b'{"a":' * 128 + b"[]" + b"}" * 128,
    b'{"a":' * 129 + b"1" + b"}" * 129,
    b'{"a":"' + b"x" * (2**20 - 8) + b'"}',
    b'{"a":"' + b"x" * (2**20 - 7) + b'"}',
]
EVENTS = [
    *(GOOD | {"topic": name} for name in NAMES),
    *(GOOD | {"event_id": name} for name in SOURCES),
    *(GOOD | {"source": name} for name in SOURCES),
    *(GOOD | {"timestamp": time} for time in TIMES if isinstance(time, str)),
    *(GOOD | {"payload": payload} for payload in PAYLOADS),
]


def test_events_are_taken_as_an_aggregator_takes_them() -> None:
    taken = 0
    for event in EVENTS:
        text = b'{"topic":%b,"event_id":%b,"source":%b,"timestamp":%b,"payload":%b}' % (
            *(json.dumps(event[name]).encode() for name in list(GOOD)[:4]),
            event["payload"],
        )
        expected = outcome(partial(one_event, text))
        made = outcome(partial(new_event, **event))
        assert (made == "refused") == (expected == "refused"), event
        if made == "refused":
            continue
        taken += 1
        assert Event(*made) == expected
        line = render_event(made, 7, STORED_US)
        assert line == as_in_a_page(expected, 7)
        assert parse_event(line).offset == 7
    assert taken > 20


def one_event(text: bytes) -> Event:
    """An event as an aggregator parses it."""
    (event,) = parse_publish(text, ndjson=False, lenient=False, limits=Limits()).events
    return event


def as_in_a_page(event: Event, offset: int) -> bytes:
    """A stored event as an aggregator encodes it."""
    columns = EventColumns(
        [event.topic.encode()],
        [offset],
        [event.event_id.encode()],
        [event.timestamp_us],
        [STORED_US],
        [event.source.encode()],
        [event.payload.encode()],
    )
    return encode_lines(columns).removesuffix(b"\n")


def test_payloads_are_mappings_or_json() -> None:
    aggregator = InMemoryAggregator()
    payload = {"é": "\ud800", "list": [1, 2.5, None], "nested": {"a": True}}
    aggregator.publish("orders", payload)
    assert aggregator.events("orders")[0].payload == payload
    for wrong in ({"a": float("nan")}, {"a": object()}, "{}", 5):
        with pytest.raises(ValueError, match="payload"):
            aggregator.publish("orders", wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no time zone"):
        aggregator.publish("orders", {}, timestamp=datetime(2026, 1, 31))  # noqa: DTZ001
    assert len(aggregator.events("orders")) == 1
