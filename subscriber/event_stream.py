"""The parser of `text/event-stream`: bytes in pieces to blocks, as the HTML standard has it."""

from typing import NamedTuple

MAX_BLOCK_BYTES = 64 * 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_ENDS = b"\r\n"
_LF = 0x0A
_RETRY_DIGITS = 12
"""More are no time that anybody waits, and a conversion of very many would take long."""


class Block(NamedTuple):
    """A block of a stream.

    A block without data is none of the standard's events, but its id counts all the same.

    Args:
        event: the name, `message` unless the block gives another.
        data: the lines of data, joined by newlines; None without any.
        id: the id that the block gives; None if it gives none.
        retry_ms: the wait before reconnecting that the block asks for, in milliseconds; None if it
            asks for none.
    """

    event: str
    data: bytes | None
    id: str | None
    retry_ms: int | None


class BlockTooLarge(Exception):
    """A block has more bytes than the parser keeps."""


class EventStreamParser:
    """Parses one answer, which comes in pieces that may be cut anywhere.

    The end of an answer needs no call: a block that is not complete by then is dropped.

    Args:
        max_block_bytes: the largest block in bytes, comments aside. It bounds the memory that the
            parser takes.
    """

    def __init__(self, max_block_bytes: int = MAX_BLOCK_BYTES) -> None:
        self._max_block_bytes = max_block_bytes
        self._line = bytearray()  # the line that is not complete yet
        self._after_cr = False  # a line feed that comes next belongs to the line before
        self._is_first_line = True
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = ""
        self._id: str | None = None
        self._retry_ms: int | None = None

    def feed(self, piece: bytes) -> list[Block]:
        """Parse the next piece.

        Args:
            piece: the bytes.

        Returns:
            The blocks that end within the piece and give data, an id or a wait.

        Raises:
            BlockTooLarge: a block is larger than it may be. The parser is of no use after this.
        """
        if self._after_cr and piece:
            self._after_cr = False
            if piece[0] == _LF:
                piece = piece[1:]
        if not piece:
            return []
        self._after_cr = piece.endswith(b"\r")
        lines = piece.splitlines()
        unfinished = b"" if piece[-1] in _LINE_ENDS else lines.pop()
        blocks = []
        if lines and self._line:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        for line in lines:
            if not line:
                if block := self._end():
                    blocks.append(block)
            else:
                self._take(line)
            self._is_first_line = False
        self._line += unfinished
        self._check(0)
        return blocks

    def _take(self, line: bytes) -> None:
        if self._is_first_line:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._check(len(line))
            self._data.append(value)
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode(errors="replace")
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self._retry_ms = int(value)

    def _check(self, line_bytes: int) -> None:
        self._data_bytes += line_bytes
        if self._data_bytes + len(self._line) > self._max_block_bytes:
            raise BlockTooLarge(f"a block has more than {self._max_block_bytes:,} bytes")

    def _end(self) -> Block | None:
        data = b"\n".join(self._data) if self._data else None
        block = Block(self._event or "message", data, self._id, self._retry_ms)
        self._data, self._data_bytes = [], 0
        self._event, self._id, self._retry_ms = "", None, None
        says_nothing = data is None and block.id is None and block.retry_ms is None
        return None if says_nothing else block
