"""Text records hold every byte, as they always have."""

import json

from hypothesis import given
from hypothesis import strategies as st
from unit.publisher.ship.records.feeding import lines_of, payload_of

from publisher.ship.log_events import line_bytes
from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.record import Line
from publisher.ship.records.text import refused_records, text_payload

EOLS = st.sampled_from([b"\n", b"\r\n", b""])


@given(st.integers(0, 2**50), st.binary() | st.text().map(str.encode), EOLS)
def test_text_payload_holds_every_byte(position: int, data: bytes, eol: bytes) -> None:
    payload = json.loads(text_payload(position, data, eol))
    assert payload["position"] == position
    assert line_bytes(payload) == data + eol
    assert payload.get("eol", "\n") == eol.decode()


def test_refused_line_is_one_record_with_its_reason() -> None:
    (line,) = lines_of(b"caf\xe9\r\n")
    (record,) = refused_records(line, "why")
    assert record.refused == "why"
    assert (record.time, record.event_id, record.topic, record.source) == (None,) * 4
    assert record.lines == (line,)
    assert line_bytes(payload_of(record)) == b"caf\xe9\r\n"


@given(
    st.integers(MAX_PIECE_BYTES - 2, 3 * MAX_PIECE_BYTES), st.sampled_from(["a", "€", "\0"]), EOLS
)
def test_refused_long_line_is_several_records_below_the_limit(
    size: int, character: str, eol: bytes
) -> None:
    data = (character * size).encode()[:size]
    line = Line(17, data, eol, bytes(32), begins=True)
    records = refused_records(line, "why")
    assert b"".join(line_bytes(payload_of(record)) for record in records) == data + eol
    position = 17
    for record in records:
        assert record.position == payload_of(record)["position"] == position
        assert record.refused == "why"
        assert len(record.payload) < 1024 * 1024
        position += len(line_bytes(payload_of(record)))
    assert [record.lines for record in records] == [()] * (len(records) - 1) + [(line,)]
