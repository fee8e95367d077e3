"""Pieces of encoded events: together they are all of it, cut between events where that can be."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.live import pieces
from aggregator.live.pieces import Pieces, next_piece, with_positions

_SIZES = st.lists(st.integers(0, 40), max_size=12)
_ENDS = [b"\n", b"\n\n"]


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", 32)
        yield


def events(sizes: Sequence[int], end: bytes) -> list[bytes]:
    if end == b"\n":
        return [b"{%b}\n" % (b"x" * size) for size in sizes]
    return [b"id: %d\ndata: {%b}\n\n" % (n, b"x" * size) for n, size in enumerate(sizes, 8)]


@pytest.mark.parametrize("end", _ENDS)
@given(sizes=_SIZES)
def test_pieces_are_whole_events_or_a_part_of_one(end: bytes, sizes: list[int]) -> None:
    data = b"".join(events(sizes, end))
    given, ends = 0, {0}
    for event in events(sizes, end):
        ends.add(max(ends) + len(event))
    while given < len(data):
        piece = next_piece(data, given, end)
        assert piece == data[given : given + len(piece)]
        assert 0 < len(piece) <= pieces.PIECE_BYTES
        after = given + len(piece)
        fits = [at for at in ends if given < at <= given + pieces.PIECE_BYTES]
        if fits and len(data) - given > pieces.PIECE_BYTES:
            assert after == max(fits)
        # No end is cut in two.
        assert after in ends or not data[:after].endswith(b"\n")
        given = after


@pytest.mark.parametrize("end", _ENDS)
@pytest.mark.parametrize("cut_bytes", [0, 10**6])
@given(sizes=_SIZES, more=_SIZES)
def test_pieces_cut_once_are_those_cut_one_by_one(
    end: bytes, cut_bytes: int, sizes: list[int], more: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_CUT_BYTES", cut_bytes)
        data = b"".join(events(sizes, end))
        cut = Pieces(data, end)
        assert (bytes(cut), cut.size) == (data, len(data))
        given = 0
        while given < len(data):
            piece = cut.piece(given)
            assert piece == next_piece(data, given, end)
            assert piece is cut.piece(given) or not cut_bytes
            given += len(piece)
        # What was given of it may go on with more.
        longer = Pieces(data + b"".join(events(more, end)), end)
        while given < longer.size:
            piece = longer.piece(given)
            assert bytes(longer)[given:].startswith(piece)
            assert 0 < len(piece) <= pieces.PIECE_BYTES
            assert not bytes(longer)[: given + len(piece)].endswith(b"\n") or piece.endswith(end)
            given += len(piece)


@given(sizes=_SIZES)
def test_ids_become_positions_wherever_pieces_are_cut(sizes: list[int]) -> None:
    end = b"\n\n"
    data = b"".join(events(sizes, end))
    given, rewritten, begins = 0, b"", True
    while given < len(data):
        piece = next_piece(data, given, end)
        given += len(piece)
        rewritten += with_positions(piece, b"@a:1,b:", begins_event=begins)
        begins = data.endswith(end, 0, given)
    assert rewritten == data.replace(b"id: ", b"id: @a:1,b:")
