"""Stored events as JSON: the same objects that a general encoder makes, and one a line."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggregator.wire.event_encoding import encode_blocks, encode_lines, encode_objects
from aggregator.wire.timestamps import render_timestamp
from storage.model import MAX_TIME_US, MIN_TIME_US, EventColumns

_FIELDS = ["topic", "event_id", "timestamp", "source", "payload", "offset", "ts_ingest"]

_names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32)), "\x7f"]),
    min_size=1,
    max_size=12,
)
_times = st.integers(MIN_TIME_US, MAX_TIME_US - 1)
_spaces = st.text(" \t\r\n", max_size=3)
_payloads = st.builds(
    lambda value, before, within: f"{before}{{{within}{json.dumps('a')}:{json.dumps(value)}}}",
    st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=4),
    _spaces,
    _spaces,
)
_events = st.tuples(
    st.sampled_from(["a", "orders.eu"]), st.integers(1, 2**63 - 1), _names, _times,
    st.sampled_from([0, 1_790_000_000_000_007]) | _times, _names, _payloads,
)  # fmt: skip


def _columns(events: list[Any]) -> EventColumns:
    topics, offsets, ids, times, ingest, sources, payloads = (list(c) for c in zip(*events))  # noqa: B905
    texts = [[text.encode() for text in column] for column in (topics, ids, sources, payloads)]
    return EventColumns(texts[0], offsets, texts[1], times, ingest, texts[2], texts[3])


def _expected(event: Any) -> dict[str, Any]:
    topic, offset, event_id, time_us, ingest_us, source, payload = event
    return {
        "topic": topic, "event_id": event_id, "timestamp": render_timestamp(time_us),
        "source": source, "payload": json.loads(payload), "offset": offset,
        "ts_ingest": render_timestamp(ingest_us),
    }  # fmt: skip


_QUOTES = ("a", 1, 'a"\\b', 0, 0, '\\"', "{}")
_BREAKS = ("a", 2, "é", -1, MAX_TIME_US - 1, "日本", '{\r\n "a":\n1}')


@example([_QUOTES, _BREAKS])
@example([_BREAKS, _QUOTES])
@given(st.lists(_events, min_size=1, max_size=5))
def test_objects_hold_the_fields_in_order_and_the_payload_as_sent(events: list[Any]) -> None:
    encoded = encode_objects(_columns(events))
    found = json.loads(b"[%b]" % encoded, object_pairs_hook=list)
    assert [[name for name, _ in each] for each in found] == [_FIELDS] * len(events)
    assert json.loads(b"[%b]" % encoded) == [_expected(event) for event in events]
    for event in events:
        assert b'"payload":%b,"offset":%d,' % (event[-1].encode(), event[1]) in encoded


@example([_QUOTES, _BREAKS])
@given(st.lists(_events, min_size=1, max_size=5))
def test_lines_hold_one_event_each_whatever_breaks_its_payload_has(events: list[Any]) -> None:
    encoded = encode_lines(_columns(events))
    assert encoded.endswith(b"\n")
    lines = encoded[:-1].split(b"\n")
    assert [json.loads(line) for line in lines] == [_expected(event) for event in events]
    assert b"\r" not in encoded
    for line, event in zip(lines, events, strict=True):
        payload = event[-1].replace("\r", " ").replace("\n", " ").encode()
        assert b'"payload":%b,"offset":%d,' % (payload, event[1]) in line


@example([_QUOTES, _BREAKS])
@given(st.lists(_events, min_size=1, max_size=5))
def test_blocks_are_the_same_lines_with_offsets_as_ids(events: list[Any]) -> None:
    columns = _columns(events)
    lines = encode_lines(columns)[:-1].split(b"\n")
    expected = [
        b"id: %d\ndata: %b\n\n" % (offset, line)
        for offset, line in zip(columns.offsets, lines, strict=True)
    ]
    assert encode_blocks(columns) == b"".join(expected)


@pytest.mark.parametrize("time_us", [MIN_TIME_US, -1, 0, 999_999, 1_000_000, MAX_TIME_US - 1])
def test_times_have_six_digits_in_every_year(time_us: int) -> None:
    encoded = encode_objects(_columns([("t", 1, "x", time_us, time_us, "s", "{}")]))
    text = render_timestamp(time_us).encode()
    assert b'"timestamp":"%b"' % text in encoded
    assert b'"ts_ingest":"%b"' % text in encoded
