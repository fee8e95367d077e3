"""An entry of the journal is the same in every copy of it."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.publisher.ship.records.feeding import payload_of, records_of

from publisher.ship.log_events import line_bytes
from publisher.ship.records.journal import JournalFormat
from publisher.ship.records.record import Record
from publisher.ship.records.source import SourceTemplate

BOOT = "0123456789abcdef0123456789abcdef"
ENTRY: dict[str, Any] = {
    "__CURSOR": "s=129b0bc0;i=2;b=0123;m=c8;t=60a2;x=6629",
    "__REALTIME_TIMESTAMP": "1700000000000200",
    "__MONOTONIC_TIMESTAMP": "200",
    "_BOOT_ID": BOOT,
    "_HOSTNAME": "web-1",
    "_SYSTEMD_UNIT": "nginx.service",
    "SYSLOG_IDENTIFIER": "nginx",
    "_TRANSPORT": "stdout",
    "PRIORITY": "6",
    "MESSAGE": "café",
    "TAG": ["b", "a"],
    "DATA": [0, 255, 10],
}
COPIES_OWN = {"__CURSOR", "__SEQNUM", "__SEQNUM_ID"}


def record_of(entry: dict[str, Any], made: JournalFormat | None = None) -> Record:
    (record,) = records_of(made or JournalFormat(), json.dumps(entry).encode() + b"\n")
    return record


def test_entry_is_a_record() -> None:
    record = record_of(ENTRY)
    assert record.refused == ""
    assert record.event_id is not None
    assert record.event_id.startswith(f"{BOOT}-0000000000000200-")
    assert len(record.event_id.rsplit("-", 1)[1]) == 20
    assert record.time == "2023-11-14T22:13:20.000200Z"
    assert record.source == "web-1:nginx.service"
    assert record.topic is None
    own = {name: value for name, value in ENTRY.items() if name != "__CURSOR"}
    assert payload_of(record) == own | {"TAG": ["a", "b"]}


VALUES = st.text(max_size=4) | st.lists(st.integers(0, 255), min_size=1, max_size=4)
FIELDS = VALUES | st.none() | st.lists(VALUES, min_size=2, max_size=3)


@given(st.dictionaries(st.sampled_from(["MESSAGE", "A", "B", "_C", "é"]), FIELDS), st.randoms())
def test_copies_of_an_entry_are_one(fields: dict[str, Any], draw: random.Random) -> None:
    entry = ENTRY | fields
    members = [(name, value) for name, value in entry.items() if value is not None]
    draw.shuffle(members)
    copied = {
        name: draw.sample(value, len(value))
        if isinstance(value, list) and any(not isinstance(each, int) for each in value)
        else value
        for name, value in members
    }
    copied |= {"__CURSOR": "other", "__SEQNUM": "7", "__SEQNUM_ID": "f00d", "LONG": None}
    first, second = record_of(entry), record_of(copied)
    assert (first.event_id, first.time, first.source) == (
        second.event_id, second.time, second.source
    )  # fmt: skip
    assert payload_of(first) == payload_of(second)
    assert not COPIES_OWN & payload_of(second).keys()
    assert None not in payload_of(second).values()


@pytest.mark.parametrize(
    "change",
    [
        {"MESSAGE": "cafe"},
        {"DATA": [255, 0, 10]},
        {"DATA": ["0", "255", "10"]},
        {"TAG": ["a", "c"]},
        {"__MONOTONIC_TIMESTAMP": "201"},
        {"__REALTIME_TIMESTAMP": "1700000000000201"},
        {"_BOOT_ID": "f" * 32},
        {"NEW": ""},
    ],
)
def test_other_entries_have_other_ids(change: dict[str, Any]) -> None:
    assert record_of(ENTRY | change).event_id != record_of(ENTRY).event_id


def test_value_that_is_repeated_is_one() -> None:
    # systemd keeps a value once when it copies an entry.
    one, two = record_of(ENTRY | {"TAG": "a"}), record_of(ENTRY | {"TAG": ["a", "a"]})
    assert (one.event_id, payload_of(one)) == (two.event_id, payload_of(two))


def test_payload_is_written_as_the_entry_is() -> None:
    kept = (
        '"MESSAGE":"é\\n","N":1.10,"O":{"b":1e400,"a":[null,true]},'
        f'"_BOOT_ID":"{BOOT}","__MONOTONIC_TIMESTAMP":"7"'
    )
    (record,) = records_of(JournalFormat(), f'{{"__CURSOR":"c",{kept},"L":null}}\n'.encode())
    assert record.payload == f"{{{kept}}}".encode()
    assert record.time_unread


def test_lone_surrogate_is_escaped() -> None:
    record = record_of(ENTRY | {"MESSAGE": "\ud800é"})
    assert payload_of(record)["MESSAGE"] == "\ud800é"


@pytest.mark.parametrize(
    ("change", "source"),
    [
        ({"_SYSTEMD_UNIT": None, "_SYSTEMD_USER_UNIT": "app.service"}, "web-1:app.service"),
        ({"_SYSTEMD_UNIT": None}, "web-1:nginx"),
        ({"_SYSTEMD_UNIT": None, "SYSLOG_IDENTIFIER": ""}, "web-1:stdout"),
        ({"_SYSTEMD_UNIT": None, "SYSLOG_IDENTIFIER": ["x", "y"]}, "web-1:x"),
        ({"_HOSTNAME": None, "_SYSTEMD_UNIT": "a\u0001"}, "-:a%01"),
        (dict.fromkeys(("_SYSTEMD_UNIT", "SYSLOG_IDENTIFIER", "_TRANSPORT")), "web-1:-"),
    ],
)
def test_source_is_host_and_unit(change: dict[str, Any], source: str) -> None:
    assert record_of(ENTRY | change).source == source


def test_template_makes_the_source() -> None:
    template = SourceTemplate.parse("{host}/{field:_SYSTEMD_UNIT}")
    assert record_of(ENTRY, JournalFormat(template)).source == "web-1/nginx.service"
    assert record_of(ENTRY, JournalFormat(SourceTemplate.parse("all"))).source is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"-- No entries --", "it is not JSON (Expecting value, character 0)"),
        (b"[]", "it is JSON, but not an object"),
        (b"\xff", "it is not UTF-8 (byte 0)"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b"{}", "it has no _BOOT_ID as the journal writes it"),
        (
            b'{"_BOOT_ID":"' + BOOT.encode() + b'","__MONOTONIC_TIMESTAMP":"-1"}',
            "it has no __MONOTONIC_TIMESTAMP as the journal writes it",
        ),
        (b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}", "it is nested too deeply"),
    ],
)
def test_line_that_is_no_entry_is_stored_as_text(line: bytes, reason: str) -> None:
    (record,) = records_of(JournalFormat(), line + b"\n")
    assert record.refused == reason
    assert line_bytes(payload_of(record)) == line + b"\n"
    assert (record.event_id, record.source) == (None, None)


def test_blank_lines_are_no_records() -> None:
    assert records_of(JournalFormat(), b"\n\r\n") == []


@pytest.mark.parametrize("time", [None, "soon", "99999999999999999999"])
def test_time_that_can_not_be_read_is_no_refusal(time: str | None) -> None:
    record = record_of(ENTRY | {"__REALTIME_TIMESTAMP": time})
    assert (record.refused, record.time, record.time_unread) == ("", None, True)
