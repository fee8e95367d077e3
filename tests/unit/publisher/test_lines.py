"""Any bytes survive being read as pieces."""

import io
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from publisher.lines import MAX_PIECE_BYTES, Piece, read_pieces

TEXT_PARTS = ["\n", "\r\n", "\r", "\x00", "a", "é", "€", "😀", "aaaaaaa"]
PARTS = [part.encode() for part in TEXT_PARTS] + [b"\xff", b"\x80", b"\xf0\x9f", b"\xe2\x82"]

any_bytes = st.lists(st.sampled_from(PARTS) | st.binary(max_size=6)).map(b"".join)
any_text = st.lists(st.sampled_from(TEXT_PARTS)).map("".join)


def pieces_of(content: bytes, max_piece_bytes: int = MAX_PIECE_BYTES) -> list[Piece]:
    return list(read_pieces(io.BytesIO(content), max_piece_bytes))


def overlaid(pieces: list[Piece]) -> bytes:
    out = io.BytesIO()
    for piece in pieces:
        out.seek(piece.position)
        out.write(piece.data + piece.eol)
    return out.getvalue()


@given(any_bytes, st.integers(1, 16))
@example(b"aaa\r\n", 3)
@example(b"aaa\r\n", 2)
@example(b"\r\r\n", 1)
@example(b"\x80\x80\x80\x80\x80\x80", 5)
def test_pieces_in_order_are_the_file(content: bytes, max_piece_bytes: int) -> None:
    pieces = pieces_of(content, max_piece_bytes)
    assert b"".join(piece.data + piece.eol for piece in pieces) == content
    position = 0
    for piece in pieces:
        assert piece.position == position
        position += len(piece.data) + len(piece.eol)


@given(any_bytes, st.integers(1, 16))
def test_a_piece_is_bounded_and_never_empty(content: bytes, max_piece_bytes: int) -> None:
    for piece in pieces_of(content, max_piece_bytes):
        assert len(piece.data) <= max_piece_bytes
        assert piece.data or piece.eol
        assert b"\n" not in piece.data
        assert piece.eol in {b"\n", b"\r\n", b""}


@given(any_bytes, st.integers(1, 16))
def test_cr_lf_is_one_terminator_and_never_cut(content: bytes, max_piece_bytes: int) -> None:
    pieces = pieces_of(content, max_piece_bytes)
    assert sum(piece.eol == b"\r\n" for piece in pieces) == content.count(b"\r\n")
    assert sum(bool(piece.eol) for piece in pieces) == content.count(b"\n")


@given(any_text, st.integers(4, 16))
def test_utf_8_stays_text_wherever_it_is_cut(text: str, max_piece_bytes: int) -> None:
    pieces = pieces_of(text.encode(), max_piece_bytes)
    assert "".join(piece.data.decode() + piece.eol.decode() for piece in pieces) == text


@given(any_bytes)
@example(b"aaa\r\n")
def test_lines_that_just_fit_are_not_cut(content: bytes) -> None:
    lines = content.split(b"\n")
    expected = [line + b"\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
    longest = max(len(line.removesuffix(b"\n").removesuffix(b"\r")) for line in [*expected, b""])
    # A carriage return without a line feed behind it is data.
    max_piece_bytes = max(longest, len(lines[-1]), 1)
    pieces = pieces_of(content, max_piece_bytes)
    assert [piece.data + piece.eol for piece in pieces] == expected


@given(any_bytes, any_bytes, st.integers(1, 16))
def test_appending_keeps_the_pieces_of_complete_lines(
    content: bytes, appended: bytes, max_piece_bytes: int
) -> None:
    before = pieces_of(content, max_piece_bytes)
    after = pieces_of(content + appended, max_piece_bytes)
    assert {piece for piece in before if piece.eol} <= set(after)
    # What was read half-written lies below what it became, whichever is written first.
    assert overlaid(before + after) == overlaid(after + before) == content + appended


def test_a_line_of_5_mb_is_read_in_bounded_steps() -> None:
    steps: list[int | None] = []

    class Recorded(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            steps.append(size)
            return super().readline(size)

    content = "é".encode() * 2_500_000 + b"\r\nend"
    pieces = list(read_pieces(Recorded(content)))
    assert b"".join(piece.data + piece.eol for piece in pieces) == content
    assert all(step and 0 < step <= MAX_PIECE_BYTES + 2 for step in steps)
    assert [piece.eol for piece in pieces] == [b""] * (len(pieces) - 2) + [b"\r\n", b""]
    assert len(pieces) == 5_000_000 // MAX_PIECE_BYTES + 2


def test_what_is_appended_after_the_end_was_reached_is_left_for_another_reading(
    tmp_path: Path,
) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"one\nha")
    with log.open("rb") as file:
        pieces = read_pieces(file)
        assert next(pieces) == Piece(0, b"one", b"\n")
        assert next(pieces) == Piece(4, b"ha", b"")
        with log.open("ab") as writer:
            writer.write(b"lf\n")
        assert list(pieces) == []


def test_nothing_in_an_empty_file() -> None:
    assert pieces_of(b"") == []
