"""Events give the bytes back, and their ids depend on nothing but the file and its source."""

import base64
import io
import re
from collections.abc import Mapping
from pathlib import Path, PurePath

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from publisher.lines import MAX_PIECE_BYTES, Piece, read_pieces
from publisher.log_events import (
    FIRST_LINE_BYTES,
    Event,
    is_source,
    line_bytes,
    log_event,
    read_fingerprint,
    source_name,
)


def event_of(piece: Piece) -> Event:
    return log_event(piece, topic="logs", source="app.log", fingerprint="f" * 20)


def shipped(path: Path, source: str | None = None) -> dict[str, bytes]:
    """Give what an aggregator would hold of a file: the bytes by event_id."""
    name = source or source_name(path)
    with path.open("rb") as file:
        fingerprint = read_fingerprint(file, name)
        events = [
            log_event(piece, topic="logs", source=name, fingerprint=fingerprint)
            for piece in read_pieces(file)
        ]
    return {event.event_id: line_bytes(event.payload) for event in events}


def log(directory: Path, content: bytes, name: str = "app.log") -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_bytes(content)
    return path


@given(st.binary(), st.sampled_from([b"\n", b"\r\n", b""]), st.integers(0, 2**50))
@example(b"\x00\x1f\x7f\xe2\x80\xa8", b"\n", 0)
@example(b"\xed\xa0\x80", b"\r\n", 0)
def test_the_bytes_survive_json(data: bytes, eol: bytes, position: int) -> None:
    event = event_of(Piece(position, data, eol))
    payload = msgspec.json.decode(msgspec.json.encode(event))["payload"]
    assert line_bytes(payload) == data + eol
    assert payload["position"] == position


@given(st.text(), st.sampled_from([b"\n", b"\r\n", b""]))
def test_utf_8_is_readable_text(text: str, eol: bytes) -> None:
    payload = event_of(Piece(0, text.encode(), eol)).payload
    assert payload["line"] == text
    assert "line_base64" not in payload
    assert payload.get("eol", "\n") == eol.decode()


def test_the_payload_says_no_more_than_it_must() -> None:
    assert event_of(Piece(7, b"caf\xc3\xa9", b"\n")).payload == {"position": 7, "line": "café"}
    assert event_of(Piece(7, b"caf\xe9", b"")).payload == {
        "position": 7,
        "line_base64": base64.b64encode(b"caf\xe9").decode(),
        "eol": "",
    }


@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b'"', b"a"])
def test_the_largest_piece_fits_into_a_payload(byte: bytes) -> None:
    event = event_of(Piece(2**62, byte * MAX_PIECE_BYTES, b"\r\n"))
    assert len(msgspec.json.encode(event.payload)) <= 1024 * 1024


def test_an_event_keeps_the_rules_for_ids_and_timestamps() -> None:
    event = event_of(Piece(1234, b"ready", b"\n"))
    assert event.event_id == f"{'f' * 20}-000000001234-6"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event.timestamp)
    assert len(event_of(Piece(2**63, b"a" * MAX_PIECE_BYTES, b"")).event_id) <= 256


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


def test_the_same_file_again_or_a_copy_elsewhere_has_the_same_ids(tmp_path: Path) -> None:
    content = b"2026-01-01 start\nready\n\xff\n"
    ids = shipped(log(tmp_path / "here", content))
    assert len(ids) == 3
    assert shipped(tmp_path / "here" / "app.log") == ids
    assert shipped(log(tmp_path / "there", content)) == ids


def test_an_appended_file_keeps_its_ids(tmp_path: Path) -> None:
    before = shipped(log(tmp_path, b"start\nready\n"))
    after = shipped(log(tmp_path, b"start\nready\nstop\n"))
    assert before.items() < after.items()
    assert len(after) == 3


def test_a_completed_last_line_is_a_new_event_and_no_conflict(tmp_path: Path) -> None:
    before = shipped(log(tmp_path, b"start\nrea"))
    after = shipped(log(tmp_path, b"start\nready\n"))
    assert set(after.values()) - set(before.values()) == {b"ready\n"}
    assert len(before.keys() & after.keys()) == 1


def test_a_completed_first_line_gives_new_ids_for_good(tmp_path: Path) -> None:
    before = shipped(log(tmp_path, b"sta"))
    complete = shipped(log(tmp_path, b"start\n"))
    appended = shipped(log(tmp_path, b"start\nready\n"))
    assert before.keys().isdisjoint(complete)
    assert complete.items() < appended.items()


def test_a_long_first_line_need_not_be_complete(tmp_path: Path) -> None:
    before = shipped(log(tmp_path, b"x" * MAX_PIECE_BYTES + b"half"))
    after = shipped(log(tmp_path, b"x" * MAX_PIECE_BYTES + b"half and half\n"))
    assert len(before.keys() & after.keys()) == 1


def test_another_first_line_or_source_gives_other_ids(tmp_path: Path) -> None:
    first = shipped(log(tmp_path, b"monday\nsame\n"))
    rotated = shipped(log(tmp_path, b"friday\nsame\n"))
    renamed = shipped(log(tmp_path, b"monday\nsame\n", "other.log"))
    chosen = shipped(tmp_path / "other.log", source="app.log")
    assert first.keys().isdisjoint(rotated)
    assert first.keys().isdisjoint(renamed)
    assert chosen == first


def test_the_fingerprint_is_that_of_the_first_line_alone() -> None:
    def fingerprint(content: bytes, source: str = "app.log") -> str:
        file = io.BytesIO(content)
        digits = read_fingerprint(file, source)
        assert file.tell() == 0
        return digits

    assert fingerprint(b"start\n") == fingerprint(b"start\nready\n")
    assert re.fullmatch("[0-9a-f]{20}", fingerprint(b""))
    assert fingerprint(b"ab", "c") != fingerprint(b"b", "ca")
    long = b"x" * FIRST_LINE_BYTES
    assert fingerprint(long) == fingerprint(long + b"y") != fingerprint(long[:-1])


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
