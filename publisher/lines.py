"""A file of any bytes as pieces: its lines, the very long ones cut."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# One byte takes at most six in JSON (a control character: \u0000), so a piece stays below the
# 1 MiB that an aggregator takes as one payload, whatever its bytes are.
MAX_PIECE_BYTES = 131_072

_MAX_CHARACTER_BYTES = 4
_CR_LF = b"\r\n"
_LF = b"\n"


class Piece(NamedTuple):
    """A line of a file, or a part of a long one.

    position: offset of the first byte in the file, in bytes from 0.
    data: the bytes without their terminator.
    eol: b"\\n", b"\\r\\n", or b"" where a line was cut or the file ends without a newline.
    """

    position: int
    data: bytes
    eol: bytes


def read_pieces(file: BinaryIO, max_piece_bytes: int = MAX_PIECE_BYTES) -> Iterator[Piece]:
    """Give the pieces of a file, in order, from its first byte to its end.

    file: open for reading in binary mode, at position 0; its `readline(n)` must return fewer than
    n bytes only at a newline or at the end, as every buffered file does. Only b"\\n" ends a line.
    max_piece_bytes: at most this many bytes of data in a piece, 1 or more. About that much memory
    is used, however long a line is.

    `data + eol` of all pieces in order are the bytes of the file, whatever they are. A line is cut
    between two UTF-8 characters if it is UTF-8 there, and CR LF is never cut in two. What is
    appended after the end was reached once is left for another reading, so that a line under way
    becomes one piece, not two.

    Raises OSError when the file cannot be read.
    """
    # Room for data of the full size and CR LF behind it: what does not end in LF then is longer.
    window_bytes = max_piece_bytes + len(_CR_LF)
    position = 0
    rest = b""
    at_end = False
    while True:
        window = rest
        if not at_end and not rest.endswith(_LF):
            window += file.readline(window_bytes - len(rest))
            at_end = len(window) < window_bytes and not window.endswith(_LF)
        if not window:
            return
        data, eol = _without_terminator(window)
        if len(data) > max_piece_bytes:
            data, eol = window[: _cut(window, max_piece_bytes)], b""
        yield Piece(position, data, eol)
        length = len(data) + len(eol)
        position += length
        rest = window[length:]


def _without_terminator(window: bytes) -> tuple[bytes, bytes]:
    for eol in (_CR_LF, _LF):
        if window.endswith(eol):
            return window[: -len(eol)], eol
    return window, b""


def _cut(window: bytes, max_piece_bytes: int) -> int:
    """Give the last place at or before max_piece_bytes where a UTF-8 character may begin."""
    for cut in range(max_piece_bytes, max(max_piece_bytes - _MAX_CHARACTER_BYTES, 0), -1):
        if not _is_continuation(window[cut]):
            return cut
    return max_piece_bytes


def _is_continuation(byte: int) -> bool:
    return byte & 0b1100_0000 == 0b1000_0000
