"""A stream of any bytes as pieces: its lines, the very long ones cut."""

from collections.abc import Iterator
from typing import NamedTuple

# One byte takes at most six in JSON (a control character: \u0000), so a piece stays below the
# 1 MiB that an aggregator takes as one payload, whatever its bytes are.
MAX_PIECE_BYTES = 131_072
MAX_CHARACTER_BYTES = 4
_CR_LF = b"\r\n"
_LF = b"\n"


class Piece(NamedTuple):
    r"""A line, or a part of a long one.

    position: offset of the first byte in the stream, in bytes from 0.
    data: the bytes without their terminator.
    eol: b"\n", b"\r\n", or b"" where a line was cut or the stream ends without a newline.
    """

    position: int
    data: bytes
    eol: bytes


class Splitter:
    r"""Cuts a stream into pieces as its bytes arrive; only b"\n" ends a line.

    position: where in the stream the first byte that is fed stands; a piece must begin there.
    max_piece_bytes: at most this many bytes of data in a piece, 1 or more. About that much is kept
    between two calls, however long a line is.

    `data + eol` of all pieces in order are the bytes of the stream, whatever they are and however
    they arrived. A line is cut between two UTF-8 characters if it is UTF-8 there, and CR LF is
    never cut in two.
    """

    def __init__(self, position: int = 0, max_piece_bytes: int = MAX_PIECE_BYTES) -> None:
        self._position = position
        self._max_piece_bytes = max_piece_bytes
        self.rest = b""
        """What was fed and is no piece yet: a line under way."""

    def feed(self, arrived: bytes) -> list[Piece]:
        """Give the pieces that are complete now."""
        lines = (self.rest + arrived).split(_LF)
        self.rest = lines.pop()
        pieces = [piece for line in lines for piece in self._pieces(line + _LF)]
        # With room for CR LF behind a piece of the full size: what is longer is cut, whatever
        # comes.
        while len(self.rest) >= self._max_piece_bytes + len(_CR_LF):
            pieces.append(self._cut_off())
        return pieces

    def finish(self) -> list[Piece]:
        """Give what is left when the stream has ended: at most one line without terminator."""
        pieces = []
        while len(self.rest) > self._max_piece_bytes:
            pieces.append(self._cut_off())
        if self.rest:
            pieces.append(self._piece(self.rest, b""))
            self.rest = b""
        return pieces

    def _pieces(self, line: bytes) -> Iterator[Piece]:
        while True:
            eol = _CR_LF if line.endswith(_CR_LF) else _LF
            if len(line) - len(eol) <= self._max_piece_bytes:
                yield self._piece(line[: -len(eol)], eol)
                return
            cut = _cut(line, self._max_piece_bytes)
            yield self._piece(line[:cut], b"")
            line = line[cut:]

    def _cut_off(self) -> Piece:
        cut = _cut(self.rest, self._max_piece_bytes)
        piece = self._piece(self.rest[:cut], b"")
        self.rest = self.rest[cut:]
        return piece

    def _piece(self, data: bytes, eol: bytes) -> Piece:
        piece = Piece(self._position, data, eol)
        self._position += len(data) + len(eol)
        return piece


def _cut(line: bytes, max_piece_bytes: int) -> int:
    """Give the last place at or before max_piece_bytes where a UTF-8 character may begin."""
    for cut in range(max_piece_bytes, max(max_piece_bytes - MAX_CHARACTER_BYTES, 0), -1):
        if not _is_continuation(line[cut]):
            return cut
    return max_piece_bytes


def _is_continuation(byte: int) -> bool:
    return byte & 0b1100_0000 == 0b1000_0000
