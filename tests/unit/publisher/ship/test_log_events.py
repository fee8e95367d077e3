"""Payloads give the bytes back, and every file name is a source."""

import base64
from collections.abc import Mapping
from pathlib import PurePath

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from publisher.ship.lines import MAX_PIECE_BYTES, Piece
from publisher.ship.log_events import is_source, line_bytes, line_payload, source_name


@given(st.binary(), st.sampled_from([b"\n", b"\r\n", b""]), st.integers(0, 2**50))
@example(b"\x00\x1f\x7f\xe2\x80\xa8", b"\n", 0)
@example(b"\xed\xa0\x80", b"\r\n", 0)
def test_the_bytes_survive_json(data: bytes, eol: bytes, position: int) -> None:
    payload = msgspec.json.decode(msgspec.json.encode(line_payload(Piece(position, data, eol))))
    assert line_bytes(payload) == data + eol
    assert payload["position"] == position


@given(st.text(), st.sampled_from([b"\n", b"\r\n", b""]))
def test_utf_8_is_readable_text(text: str, eol: bytes) -> None:
    payload = line_payload(Piece(0, text.encode(), eol))
    assert payload["line"] == text
    assert "line_base64" not in payload
    assert payload.get("eol", "\n") == eol.decode()


def test_the_payload_says_no_more_than_it_must() -> None:
    assert line_payload(Piece(7, b"caf\xc3\xa9", b"\n")) == {"position": 7, "line": "café"}
    assert line_payload(Piece(7, b"caf\xe9", b"")) == {
        "position": 7,
        "line_base64": base64.b64encode(b"caf\xe9").decode(),
        "eol": "",
    }


@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b'"', b"a"])
def test_the_largest_piece_fits_into_a_payload(byte: bytes) -> None:
    payload = line_payload(Piece(2**62, byte * MAX_PIECE_BYTES, b"\r\n"))
    assert len(msgspec.json.encode(payload)) <= 1024 * 1024


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


@given(st.binary(min_size=1, max_size=255).filter(lambda name: not {0, 0x2F} & set(name)))
def test_every_file_name_becomes_a_source(name: bytes) -> None:
    path = PurePath(name.decode(errors="surrogateescape"))
    if path.name:  # "." has none, and is a directory
        assert is_source(source_name(path))


def test_a_source_is_the_base_name_as_far_as_possible() -> None:
    assert source_name(PurePath("/var/log/app 100%.log")) == "app 100%.log"
    assert source_name(PurePath("a\nb\x7f")) == "a%0Ab%7F"
    assert source_name(PurePath(b"caf\xe9".decode(errors="surrogateescape"))) == "caf%E9"
    one, other = (source_name(PurePath("\n" * 100 + end)) for end in "ab")
    assert len(one) == len(other) == 256
    assert one != other
