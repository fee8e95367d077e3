"""Batches keep the order of the pieces and both limits."""

import io

from hypothesis import given
from hypothesis import strategies as st

from publisher.batches import batches
from publisher.lines import Piece, read_pieces


def encode(piece: Piece) -> bytes:
    return piece.data + b"|"


contents = st.lists(st.sampled_from([b"\n", b"a", b"bbbbbbbb", b"\r\n"])).map(b"".join)


@given(contents, st.integers(1, 5), st.integers(1, 30))
def test_every_piece_is_in_one_batch_in_order(
    content: bytes, max_events: int, max_bytes: int
) -> None:
    pieces = list(read_pieces(io.BytesIO(content), max_piece_bytes=4))
    made = list(batches(pieces, encode, max_events=max_events, max_bytes=max_bytes))
    assert b"".join(batch.body for batch in made) == b"".join(
        encode(piece) + b"\n" for piece in pieces
    )
    position = 0
    for batch in made:
        assert batch.position == position
        assert batch.events == batch.body.count(b"|\n") <= max_events
        assert len(batch.body) <= max_bytes or batch.events == 1
        position += batch.file_bytes
    assert position == len(content)


@given(contents, st.integers(1, 5))
def test_lines_are_counted_once_however_they_were_cut(content: bytes, max_events: int) -> None:
    pieces = read_pieces(io.BytesIO(content), max_piece_bytes=4)
    made = batches(pieces, encode, max_events=max_events)
    unfinished = bool(content) and not content.endswith(b"\n")
    assert sum(batch.lines for batch in made) == content.count(b"\n") + unfinished


def test_pieces_are_read_only_as_far_as_needed() -> None:
    pieces = iter([Piece(n, b"", b"\n") for n in range(10)])
    next(batches(pieces, encode, max_events=3))
    assert next(pieces).position == 4
