"""Pieces of encoded events: what a connection gets at a time."""

from bisect import bisect_right
from itertools import accumulate

PIECE_BYTES = 64 * 1024

_CUT_BYTES = 2 * 2**20
"""What is larger is cut when it is given: all at once would hold up the event loop."""

_ID = b"id: "


class Pieces:
    """Encoded events, cut into pieces once for all streams that give them.

    Args:
        data: the events.
        end: what ends an event.
    """

    __slots__ = ("_end", "_pieces", "_starts", "size")

    def __init__(self, data: bytes, end: bytes) -> None:
        self.size = len(data)
        """Bytes of all of them."""
        self._end = end
        self._pieces = _cut(data, end) if len(data) <= _CUT_BYTES else [data]
        self._starts = [0, *accumulate(map(len, self._pieces[:-1]))]

    def __bytes__(self) -> bytes:
        return b"".join(self._pieces)

    def piece(self, given: int) -> bytes:
        """Return the next piece: whole events, or a part of one that is larger.

        Args:
            given: bytes that were given before, fewer than all.
        """
        index = bisect_right(self._starts, given) - 1
        return next_piece(self._pieces[index], given - self._starts[index], self._end)

    def part(self, start: int, end: int) -> bytes:
        """Return the bytes from one place up to another, which is above it and not part of them."""
        index = bisect_right(self._starts, start) - 1
        parts: list[bytes] = []
        while start < end:
            piece, begins = self._pieces[index], self._starts[index]
            parts.append(piece[start - begins : end - begins])
            start = begins + len(piece)
            index += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _cut(data: bytes, end: bytes) -> list[bytes]:
    pieces = [next_piece(data, 0, end)]
    given = len(pieces[0])
    while given < len(data):
        pieces.append(next_piece(data, given, end))
        given += len(pieces[-1])
    return pieces


def next_piece(data: bytes, given: int, end: bytes) -> bytes:
    """Cut the next piece off encoded events: whole events, or a part of one that is larger.

    Args:
        data: the events.
        given: bytes of them that were given before, up to here.
        end: what ends an event; it is in no piece in part.
    """
    if len(data) - given <= PIECE_BYTES:
        return data[given:] if given else data
    cut = data.rfind(end, given, given + PIECE_BYTES)
    if cut >= 0:
        return data[given : cut + len(end)]
    return data[given : given + PIECE_BYTES].rstrip(b"\n")


def with_positions(piece: bytes, head: bytes, *, begins_event: bool) -> bytes:
    """Make the ids of events, which are offsets, positions of several topics.

    Args:
        piece: blocks of one topic.
        head: the position up to where the offset goes.
        begins_event: whether the piece begins between two events.
    """
    end = b"\n\n"
    rewritten = piece.replace(end + _ID, end + _ID + head)
    return _ID + head + rewritten[len(_ID) :] if begins_event else rewritten
