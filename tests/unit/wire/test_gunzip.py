"""Strict gzip: all of it, nothing else, and never much at a time."""

import gzip
import zlib
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.wire.errors import MalformedBody
from aggregator.wire.gunzip import Gunzip

PIECE_BYTES = 65_536
TEXTS = st.binary(max_size=200) | st.builds(
    bytes.__mul__, st.binary(min_size=1, max_size=3), st.integers(1, 100_000)
)
MEMBERS = st.lists(
    st.tuples(TEXTS, st.integers(0, 9)).map(lambda m: (m[0], gzip.compress(m[0], m[1]))),
    min_size=1,
    max_size=4,
)


def gunzip(chunks: Iterable[bytes]) -> bytes:
    stream = Gunzip()
    pieces = [piece for chunk in chunks for piece in stream.feed(chunk)]
    stream.finish()
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


@given(MEMBERS, st.lists(st.integers(0, 10_000), max_size=8))
def test_members_in_any_chunks_decompress_to_the_original(
    members: list[tuple[bytes, bytes]], places: list[int]
) -> None:
    packed = b"".join(member for _, member in members)
    assert gunzip(cut(packed, places)) == b"".join(text for text, _ in members)


@given(MEMBERS)
def test_single_bytes_decompress_to_the_original(members: list[tuple[bytes, bytes]]) -> None:
    packed = b"".join(member for _, member in members)[:5000]
    whole = b"".join(member for _, member in members)
    expected = b"".join(text for text, _ in members)
    assert gunzip([*(packed[i : i + 1] for i in range(len(packed))), whole[5000:]]) == expected


@given(MEMBERS, st.integers(0, 1_000_000))
def test_a_stream_that_was_cut_short_is_refused(
    members: list[tuple[bytes, bytes]], place: int
) -> None:
    packed = b"".join(member for _, member in members)
    prefix = packed[: place % len(packed)]
    ends = {sum(len(member) for _, member in members[:n]) for n in range(1, len(members))}
    if len(prefix) in ends:
        return  # complete members are a stream
    with pytest.raises(MalformedBody):
        gunzip([prefix])


def test_no_prefix_of_a_member_is_complete() -> None:
    packed = gzip.compress(b"some events" * 50)
    for length in range(len(packed)):
        with pytest.raises(MalformedBody, match="cut short"):
            gunzip([packed[:length]])


@given(MEMBERS, st.binary(min_size=1, max_size=17), st.booleans())
def test_bytes_behind_the_end_are_refused(
    members: list[tuple[bytes, bytes]], trailing: bytes, apart: bool
) -> None:
    packed = b"".join(member for _, member in members)
    with pytest.raises(MalformedBody):
        gunzip([packed, trailing] if apart else [packed + trailing])


@given(MEMBERS, st.integers(0, 1_000_000), st.integers(1, 255))
def test_a_flipped_byte_gives_the_original_or_an_error(
    members: list[tuple[bytes, bytes]], place: int, change: int
) -> None:
    packed = bytearray(b"".join(member for _, member in members))
    packed[place % len(packed)] ^= change
    try:
        found = gunzip([bytes(packed)])
    except MalformedBody:
        return
    # A header has bytes that mean nothing for the text: the time, the system.
    assert found == b"".join(text for text, _ in members)


@pytest.mark.parametrize("body", [b"", b"plain", zlib.compress(b"x"), b"\x1f", b"\x1f\x8b"])
def test_other_bytes_than_gzip_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        gunzip([body])


def test_bomb_is_decompressed_lazily_in_bounded_pieces() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    pieces = Gunzip().feed(bomb)
    assert [len(next(pieces)) for _ in range(3)] == [PIECE_BYTES] * 3
    assert gunzip([bomb]) == bytes(50_000_000)
