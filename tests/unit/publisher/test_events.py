"""An event has one form on the wire, made once; the aggregator takes it as what was meant."""

import json
import math
import uuid
from collections import OrderedDict, UserDict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.http import Client
from support.talking import read_all

from publisher.client import Publisher
from publisher.errors import EventInvalid, EventRejected
from publisher.events import EncodedEvent, Event, encode_event, parse_record
from publisher.response import Verdict

NOON = datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=UTC)


def event(**changes: Any) -> Event:
    """A valid event."""
    fields: dict[str, Any] = {
        "topic": "orders",
        "payload": {"total": 42},
        "source": "shop",
        "event_id": "e-1",
        "timestamp": NOON,
    }
    return Event(**(fields | changes))


def test_the_form_of_an_event() -> None:
    assert encode_event(event()) == EncodedEvent(
        "orders",
        "e-1",
        b'{"topic":"orders","event_id":"e-1","timestamp":"2026-01-31T12:00:00.000005Z",'
        b'"source":"shop","payload":{"total":42}}',
    )


def test_event_keeps_its_id_and_timestamp() -> None:
    one = Event("orders", {}, source="shop")
    assert encode_event(one) == encode_event(one)
    assert one.event_id != Event("orders", {}, source="shop").event_id
    assert uuid.UUID(one.event_id).version == 7
    assert isinstance(one.timestamp, datetime)
    assert abs(one.timestamp - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        (
            NOON.astimezone(timezone(timedelta(hours=-3, minutes=-30))),
            "2026-01-31T12:00:00.000005Z",
        ),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
        ("2026-01-31 12:00Z", "2026-01-31 12:00Z"),
    ],
)
def test_a_timestamp_is_sent_in_utc_and_a_string_as_it_is(
    timestamp: datetime | str, text: str
) -> None:
    assert json.loads(encode_event(event(timestamp=timestamp)).line)["timestamp"] == text


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"a": 1.10, "é": "\u2028"}, '{"a":1.1,"é":"\u2028"}'),
        (b'{"a": 1.10, "n": 12345678901234567890}', '{"a": 1.10, "n": 12345678901234567890}'),
        ({"lone": "\ud800"}, '{"lone":"\\ud800"}'),
        ({1: None, False: [()]}, '{"1":null,"false":[[]]}'),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        (UserDict({"a": 1}), '{"a":1}'),
        (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
    ],
)
def test_a_payload_is_sent_as_the_json_text_that_it_is(
    payload: Mapping[str, object] | bytes, text: str
) -> None:
    assert encode_event(event(payload=payload)).line.endswith(f'"payload":{text}}}'.encode())


def nested(levels: int) -> dict[str, object]:
    inner: dict[str, object] = {}
    for _ in range(levels):
        inner = {"a": inner}
    return inner


CIRCLE: dict[str, object] = {}
CIRCLE["self"] = CIRCLE


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"payload": {"a": math.nan}}, "not JSON compliant"),
        ({"payload": {"a": [-math.inf]}}, "not JSON compliant"),
        ({"payload": {"a": Decimal(1)}}, "Decimal is not JSON serializable"),
        ({"payload": {"a": b"x"}}, "bytes is not JSON serializable"),
        ({"payload": {(1,): 1}}, "keys must be"),
        ({"payload": CIRCLE}, "Circular reference"),
        ({"payload": nested(100_000)}, "recursion"),
        ({"payload": {"n": 10**5000}}, "digits"),
        ({"payload": [1]}, "the payload must be a mapping, not list"),
        ({"payload": "{}"}, "the payload must be a mapping, not str"),
        ({"payload": None}, "the payload must be a mapping, not NoneType"),
        ({"payload": b"[1]"}, "it is JSON, but not an object"),
        ({"payload": b""}, "it is not JSON"),
        ({"payload": b'{"a":1}{'}, "it is not JSON"),
        ({"payload": b'{"a":NaN}'}, "NaN is not JSON"),
        ({"payload": b'{"a":\n1}'}, "must be on one line"),
        ({"payload": b'{"a":"\xff"}'}, r"it is not UTF-8 \(byte 6\)"),
        ({"payload": b'{"a":' * 100_000}, "recursion"),
        ({"timestamp": datetime(2026, 1, 1)}, "has no time zone"),  # noqa: DTZ001
        ({"timestamp": date(2026, 1, 1)}, "must be a datetime or a string, not date"),
        ({"timestamp": None}, "must be a datetime or a string, not NoneType"),
        ({"timestamp": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))}, "out of range"),
        ({"topic": "\ud800"}, "surrogates not allowed"),
        ({"topic": b"orders"}, "the topic must be a string, not bytes"),
        ({"event_id": uuid.uuid4()}, "the event_id must be a string, not UUID"),
        ({"event_id": 7}, "the event_id must be a string, not int"),
        ({"source": None}, "the source must be a string, not NoneType"),
    ],
)
def test_event_without_json_form_is_invalid(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(EventInvalid, match=why) as invalid:
        encode_event(event(**changes))
    assert isinstance(invalid.value, ValueError)
    assert " has no JSON form: " in str(invalid.value)
    assert "\n" not in str(invalid.value)


def test_a_record_is_parsed_with_every_digit() -> None:
    assert parse_record(b'{"a": 1.10, "b": 12345678901234567890}') == {
        "a": "1.10",
        "b": "12345678901234567890",
    }


_NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=20)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(
    _NAMES,
    _NAMES,
    st.dictionaries(st.text(st.characters(), max_size=3), _VALUES),
    st.datetimes(timezones=st.timezones()),
)
def test_encoded_event_is_one_line_with_the_same_values(
    event_id: str, source: str, payload: dict[str, object], timestamp: datetime
) -> None:
    made = event(event_id=event_id, source=source, payload=payload, timestamp=timestamp)
    try:
        line = encode_event(made).line
    except EventInvalid:
        # Near the first and the last year a time is none in UTC.
        assert timestamp.year in {1, 9999}
        return
    assert b"\n" not in line
    said = json.loads(line)
    assert (said["event_id"], said["source"]) == (event_id, source)
    assert said["payload"] == payload
    # In UTC: an hour that comes twice where the clocks are set back equals no other time.
    assert datetime.fromisoformat(said["timestamp"]) == timestamp.astimezone(UTC)


async def test_aggregator_stores_or_rejects_each_form(client: Client) -> None:
    good = [
        event(event_id="a", payload=b'{"n": 1.10}'),
        event(event_id="b", payload={"s": "\ud800", "n": [1, None]}),
        event(event_id="c", timestamp="2026-01-31T12:00Z"),
        event(event_id="d\u2028é", timestamp=datetime(1, 1, 1, tzinfo=UTC)),
    ]
    bad = [
        event(topic="no topic"),
        event(event_id=""),
        event(event_id="a\n"),
        event(source="s" * 257),
        event(timestamp="yesterday"),
        event(event_id="deep", payload=nested(128)),
        event(event_id="huge", payload={"x": "x" * 2**20}),
    ]
    mixed = [*good[:2], *bad, *good[2:]]
    async with Publisher(str(client.make_url(""))) as publisher:
        verdicts = [await publisher.submit(each) for each in mixed]
    for each, verdict in zip(mixed, verdicts, strict=True):
        if each in bad:
            error = verdict.exception()
            assert isinstance(error, EventRejected)
            assert str(error)
        else:
            offset = good.index(each) + 1
            assert verdict.result() == Verdict("orders", each.event_id, "stored", offset)
    log = await read_all(client, topic="orders", after=0)
    assert [stored["event_id"] for stored in log] == [each.event_id for each in good]
