"""Any bytes survive being cut into pieces, however they arrive."""

from collections.abc import Iterable

from hypothesis import example, given
from hypothesis import strategies as st

from publisher.ship.lines import MAX_PIECE_BYTES, Piece, Splitter

TEXT_PARTS = ["\n", "\r\n", "\r", "\x00", "a", "é", "€", "😀", "aaaaaaa"]
PARTS = [part.encode() for part in TEXT_PARTS] + [b"\xff", b"\x80", b"\xf0\x9f", b"\xe2\x82"]

any_bytes = st.lists(st.sampled_from(PARTS) | st.binary(max_size=6)).map(b"".join)
any_text = st.lists(st.sampled_from(TEXT_PARTS)).map("".join)
any_chunks = st.lists(any_bytes)


def pieces_of(chunks: Iterable[bytes], max_piece_bytes: int = MAX_PIECE_BYTES) -> list[Piece]:
    splitter = Splitter(max_piece_bytes=max_piece_bytes)
    return [piece for chunk in chunks for piece in splitter.feed(chunk)] + splitter.finish()


def joined(pieces: Iterable[Piece]) -> bytes:
    return b"".join(piece.data + piece.eol for piece in pieces)


@given(any_chunks, st.integers(1, 16))
@example([b"aaa\r", b"\n"], 3)
@example([b"aaa", b"\r\n"], 2)
@example([b"\r", b"\r", b"\n"], 1)
@example([b"\x80\x80\x80", b"\x80\x80\x80"], 5)
@example([b"aa\xc3", b"\xa9\n"], 3)
def test_pieces_are_the_same_however_the_stream_arrives(
    chunks: list[bytes], max_piece_bytes: int
) -> None:
    content = b"".join(chunks)
    at_once = pieces_of([content], max_piece_bytes)
    assert pieces_of(chunks, max_piece_bytes) == at_once
    assert pieces_of([content[at : at + 1] for at in range(len(content))], max_piece_bytes) == (
        at_once
    )


@given(any_chunks, st.integers(1, 16))
def test_pieces_in_order_are_the_stream(chunks: list[bytes], max_piece_bytes: int) -> None:
    pieces = pieces_of(chunks, max_piece_bytes)
    assert joined(pieces) == b"".join(chunks)
    position = 0
    for piece in pieces:
        assert piece.position == position
        position += len(piece.data) + len(piece.eol)


@given(any_chunks, st.integers(1, 16))
def test_a_piece_is_bounded_and_never_empty(chunks: list[bytes], max_piece_bytes: int) -> None:
    for piece in pieces_of(chunks, max_piece_bytes):
        assert len(piece.data) <= max_piece_bytes
        assert piece.data or piece.eol
        assert b"\n" not in piece.data
        assert piece.eol in {b"\n", b"\r\n", b""}


@given(any_chunks, st.integers(1, 16))
def test_cr_lf_is_one_terminator_and_never_cut(chunks: list[bytes], max_piece_bytes: int) -> None:
    pieces = pieces_of(chunks, max_piece_bytes)
    content = b"".join(chunks)
    assert sum(piece.eol == b"\r\n" for piece in pieces) == content.count(b"\r\n")
    assert sum(bool(piece.eol) for piece in pieces) == content.count(b"\n")


@given(any_text, st.integers(4, 16))
def test_utf_8_stays_text_wherever_it_is_cut(text: str, max_piece_bytes: int) -> None:
    pieces = pieces_of([text.encode()], max_piece_bytes)
    assert "".join(piece.data.decode() + piece.eol.decode() for piece in pieces) == text


@given(any_bytes)
@example(b"aaa\r\n")
def test_lines_that_just_fit_are_not_cut(content: bytes) -> None:
    lines = content.split(b"\n")
    expected = [line + b"\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
    longest = max(len(line.removesuffix(b"\n").removesuffix(b"\r")) for line in [*expected, b""])
    # A carriage return without a line feed behind it is data.
    max_piece_bytes = max(longest, len(lines[-1]), 1)
    pieces = pieces_of([content], max_piece_bytes)
    assert [piece.data + piece.eol for piece in pieces] == expected


@given(any_bytes, st.integers(1, 16), st.data())
def test_a_stream_is_taken_up_at_any_piece(
    content: bytes, max_piece_bytes: int, data: st.DataObject
) -> None:
    pieces = pieces_of([content], max_piece_bytes)
    place = data.draw(st.integers(0, len(pieces)))
    position = len(joined(pieces[:place]))
    splitter = Splitter(position, max_piece_bytes)
    assert splitter.feed(content[position:]) + splitter.finish() == pieces[place:]


@given(any_chunks, st.integers(1, 16))
def test_what_is_given_before_the_end_is_complete(chunks: list[bytes], most: int) -> None:
    splitter = Splitter(max_piece_bytes=most)
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)]
    assert joined(pieces) + splitter.rest == b"".join(chunks)
    assert b"\n" not in splitter.rest
    # Whatever comes behind them, they stay as they are.
    assert pieces_of([*chunks, b"more\n"], most)[: len(pieces)] == pieces


def test_a_line_of_5_mb_is_kept_in_bounded_parts() -> None:
    splitter = Splitter()
    content = "é".encode() * 2_500_000 + b"\r\nend"
    pieces = []
    for at in range(0, len(content), 1000):
        pieces += splitter.feed(content[at : at + 1000])
        assert len(splitter.rest) <= MAX_PIECE_BYTES + 2
    pieces += splitter.finish()
    assert joined(pieces) == content
    assert [piece.eol for piece in pieces] == [b""] * (len(pieces) - 2) + [b"\r\n", b""]
    assert len(pieces) == 5_000_000 // MAX_PIECE_BYTES + 2


def test_nothing_in_an_empty_stream() -> None:
    assert pieces_of([]) == pieces_of([b"", b""]) == []
