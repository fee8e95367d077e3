"""Payloads give the bytes back that they were made of."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from publisher.ship.log_events import line_bytes
from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.text import text_payload

EOLS = st.sampled_from([b"\n", b"\r\n", b""])


@given(st.binary(), EOLS, st.integers(0, 2**50))
@example(b"\x00\x1f\x7f\xe2\x80\xa8", b"\n", 0)
@example(b"\xed\xa0\x80", b"\r\n", 0)
def test_the_bytes_survive_json(data: bytes, eol: bytes, position: int) -> None:
    payload = json.loads(text_payload(position, data, eol))
    assert line_bytes(payload) == data + eol
    assert payload["position"] == position


@given(st.text(), EOLS)
def test_utf_8_is_readable_text(text: str, eol: bytes) -> None:
    payload = json.loads(text_payload(0, text.encode(), eol))
    assert payload["line"] == text
    assert "line_base64" not in payload
    assert payload.get("eol", "\n") == eol.decode()


def test_the_payload_says_no_more_than_it_must() -> None:
    assert json.loads(text_payload(7, b"caf\xc3\xa9", b"\n")) == {"position": 7, "line": "café"}
    assert json.loads(text_payload(7, b"caf\xe9", b"")) == {
        "position": 7,
        "line_base64": "Y2Fm6Q==",
        "eol": "",
    }


@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b'"', b"a"])
def test_the_largest_piece_fits_into_a_payload(byte: bytes) -> None:
    assert len(text_payload(2**62, byte * MAX_PIECE_BYTES, b"\r\n")) <= 1024 * 1024


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"line": 1},
        {"line": "a", "line_base64": "YQ=="},
        {"line_base64": "Y"},
        {"line_base64": "é"},
        {"line": "a", "eol": None},
        {"line": "\ud800"},
    ],
)
def test_a_payload_of_something_else_is_refused(payload: Mapping[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the subclass is part of no promise
        line_bytes(payload)
