"""Any bytes survive being cut into lines, however they arrive, and each line has its digest."""

import hashlib
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from publisher.ship.files.line_reader import BYTE_ORDER_MARK, LineReader
from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.record import Line

TEXT_PARTS = ["\n", "\r\n", "\r", "\x00", "a", "é", "€", "😀", "aaaaaaa"]
PARTS = [part.encode() for part in TEXT_PARTS] + [b"\xff", b"\x80", b"\xf0\x9f", b"\xe2\x82"]
START = b"what stands before it"

any_bytes = (
    st.lists(st.sampled_from(PARTS) | st.binary(max_size=6))
    .map(b"".join)
    .filter(lambda content: not content.startswith(BYTE_ORDER_MARK))
)
any_text = st.lists(st.sampled_from(TEXT_PARTS)).map("".join)
any_chunks = st.lists(any_bytes).filter(
    lambda chunks: not b"".join(chunks).startswith(BYTE_ORDER_MARK)
)


def lines_of(chunks: Iterable[bytes], max_line_bytes: int = MAX_PIECE_BYTES) -> list[Line]:
    reader = LineReader(0, START, max_line_bytes)
    return [line for chunk in chunks for line in reader.feed(chunk)] + reader.finish()


def joined(lines: Iterable[Line]) -> bytes:
    return b"".join(line.data + line.eol for line in lines)


@given(any_chunks, st.integers(1, 16))
@example([b"aaa\r", b"\n"], 3)
@example([b"aaa", b"\r\n"], 2)
@example([b"\r", b"\r", b"\n"], 1)
@example([b"\x80\x80\x80", b"\x80\x80\x80"], 5)
@example([b"aa\xc3", b"\xa9\n"], 3)
def test_lines_are_the_same_however_the_content_arrives(
    chunks: list[bytes], max_line_bytes: int
) -> None:
    content = b"".join(chunks)
    at_once = lines_of([content], max_line_bytes)
    assert lines_of(chunks, max_line_bytes) == at_once
    assert lines_of([content[at : at + 1] for at in range(len(content))], max_line_bytes) == at_once


@given(any_chunks, st.integers(1, 16))
def test_lines_in_order_are_the_content_and_their_digests_are_of_all_up_to_there(
    chunks: list[bytes], max_line_bytes: int
) -> None:
    lines = lines_of(chunks, max_line_bytes)
    assert joined(lines) == b"".join(chunks)
    position, chain, begins = 0, START, True
    for line in lines:
        content = line.data + line.eol
        chain = hashlib.sha256(chain + content).digest()
        assert (line.position, line.chain, line.begins) == (position, chain, begins)
        position += len(content)
        begins = line.eol != b""


@given(any_chunks, st.integers(1, 16))
def test_a_line_is_bounded_and_never_empty(chunks: list[bytes], max_line_bytes: int) -> None:
    for line in lines_of(chunks, max_line_bytes):
        assert len(line.data) <= max_line_bytes
        assert line.data or line.eol
        assert b"\n" not in line.data
        assert line.eol in {b"\n", b"\r\n", b""}


@given(any_chunks, st.integers(1, 16))
def test_cr_lf_is_one_terminator_and_never_cut(chunks: list[bytes], max_line_bytes: int) -> None:
    lines = lines_of(chunks, max_line_bytes)
    content = b"".join(chunks)
    assert sum(line.eol == b"\r\n" for line in lines) == content.count(b"\r\n")
    assert sum(bool(line.eol) for line in lines) == content.count(b"\n")


@given(any_text, st.integers(4, 16))
def test_utf_8_stays_text_wherever_it_is_cut(text: str, max_line_bytes: int) -> None:
    lines = lines_of([text.encode()], max_line_bytes)
    assert "".join(line.data.decode() + line.eol.decode() for line in lines) == text


@given(any_bytes)
@example(b"aaa\r\n")
def test_lines_that_just_fit_are_not_cut(content: bytes) -> None:
    parts = content.split(b"\n")
    expected = [part + b"\n" for part in parts[:-1]] + [part for part in parts[-1:] if part]
    longest = max(len(line.removesuffix(b"\n").removesuffix(b"\r")) for line in [*expected, b""])
    # A carriage return without a line feed behind it is data.
    max_line_bytes = max(longest, len(parts[-1]), 1)
    lines = lines_of([content], max_line_bytes)
    assert [line.data + line.eol for line in lines] == expected


@given(any_bytes, st.integers(1, 16), st.data())
def test_a_content_is_taken_up_at_any_line(
    content: bytes, max_line_bytes: int, data: st.DataObject
) -> None:
    lines = lines_of([content], max_line_bytes)
    place = data.draw(st.integers(0, len(lines)))
    position = len(joined(lines[:place]))
    before = lines[place - 1] if place else None
    reader = LineReader(
        position,
        before.chain if before else START,
        max_line_bytes,
        begins=before is None or before.eol != b"",
    )
    assert reader.feed(content[position:]) + reader.finish() == lines[place:]


@given(any_chunks, st.integers(1, 16))
def test_what_is_given_before_the_end_is_complete(chunks: list[bytes], most: int) -> None:
    reader = LineReader(0, START, most)
    lines = [line for chunk in chunks for line in reader.feed(chunk)]
    assert joined(lines) + reader.rest == b"".join(chunks)
    assert reader.position == len(joined(lines))
    assert reader.chain == (lines[-1].chain if lines else START)
    assert b"\n" not in reader.rest
    # Whatever comes behind them, they stay as they are.
    assert lines_of([*chunks, b"more\n"], most)[: len(lines)] == lines


def test_a_line_of_5_mb_is_kept_in_bounded_parts() -> None:
    reader = LineReader(0, START, MAX_PIECE_BYTES)
    content = "é".encode() * 2_500_000 + b"\r\nend"
    lines = []
    for at in range(0, len(content), 1000):
        lines += reader.feed(content[at : at + 1000])
        assert len(reader.rest) <= MAX_PIECE_BYTES + 2
    lines += reader.finish()
    assert joined(lines) == content
    assert [line.eol for line in lines] == [b""] * (len(lines) - 2) + [b"\r\n", b""]
    assert len(lines) == 5_000_000 // MAX_PIECE_BYTES + 2


@pytest.mark.parametrize(
    ("content", "first"),
    [
        (b"one\ntwo\n", (3, b"one", b"\n")),
        (b"one\r\n", (3, b"one", b"\r\n")),
        (b"\n", (3, b"", b"\n")),
        (b"one", (3, b"one", b"")),
    ],
)
def test_byte_order_mark_at_the_start_is_skipped_and_counts_for_place_and_digest(
    content: bytes, first: tuple[int, bytes, bytes]
) -> None:
    marked = BYTE_ORDER_MARK + content
    line, *others = lines_of([marked])
    assert line[:3] == first
    length = len(BYTE_ORDER_MARK) + len(line.data + line.eol)
    assert line.chain == hashlib.sha256(START + marked[:length]).digest()
    assert [other.position for other in others] == [length] * len(others)
    assert lines_of([marked[:1], marked[1:2], marked[2:]]) == [line, *others]


def test_byte_order_mark_elsewhere_is_data() -> None:
    lines = lines_of([b"a\n" + BYTE_ORDER_MARK + b"b\n"])
    assert [line.data for line in lines] == [b"a", BYTE_ORDER_MARK + b"b"]
    (line,) = LineReader(7, START, 10).feed(BYTE_ORDER_MARK + b"b\n")
    assert line.data == BYTE_ORDER_MARK + b"b"


def test_nothing_in_an_empty_content() -> None:
    assert lines_of([]) == lines_of([b"", b""]) == []
