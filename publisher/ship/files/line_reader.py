"""Lines of a content as its bytes arrive, each with the digest of all up to its end."""

import hashlib

from publisher.ship.records.cutting import cut_place
from publisher.ship.records.record import Line

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CR_LF = b"\r\n"
_LF = b"\n"


class LineReader:
    r"""Splits a content into lines, the very long ones cut; only b"\n" ends a line.

    `data + eol` of all lines in order are the bytes of the content, whatever they are and however
    they arrived, but for a byte order mark at its start, which is skipped. A line is cut between
    two UTF-8 characters if it is UTF-8 there, and CR LF is never cut in two.

    Args:
        position: where in the content the first byte that is fed stands; a line must begin there.
        chain: the digest of all that stands before it.
        max_line_bytes: longer lines are cut, 1 or more. About that much is kept between two calls.
        begins: False if the position is within a line that was cut.
    """

    def __init__(
        self, position: int, chain: bytes, max_line_bytes: int, *, begins: bool = True
    ) -> None:
        self.position = position
        """Of the first byte that is in no line yet."""
        self.chain = chain
        """The digest of all that stands before the position."""
        self.rest = b""
        """What was fed and is no line yet."""
        self._max_line_bytes = max_line_bytes
        self._begins = begins

    def feed(self, arrived: bytes) -> list[Line]:
        """Return the lines that are complete now."""
        parts = (self.rest + arrived).split(_LF)
        self.rest = parts.pop()
        lines: list[Line] = []
        add, sha256, new = lines.append, hashlib.sha256, tuple.__new__
        position, chain, begins = self.position, self.chain, self._begins
        longest = self._max_line_bytes
        for part in parts:
            if len(part) > longest or position == 0:
                self.position, self.chain, self._begins = position, chain, begins
                lines += self._slowly(part + _LF)
                position, chain, begins = self.position, self.chain, self._begins
                continue
            line = part + _LF
            chain = sha256(chain + line).digest()
            if part[-1:] == b"\r":
                add(new(Line, (position, part[:-1], _CR_LF, chain, begins)))
            else:
                add(new(Line, (position, part, _LF, chain, begins)))
            begins = True
            position += len(line)
        self.position, self.chain, self._begins = position, chain, begins
        # With room for CR LF behind a line of the full size: what is longer is cut, whatever comes.
        while len(self.rest) >= longest + len(_CR_LF):
            lines.append(self._cut_off())
        return lines

    def finish(self) -> list[Line]:
        """Return what is left when the content has ended: a line without terminator, if any."""
        lines: list[Line] = []
        while len(self.rest) > self._max_line_bytes:
            lines.append(self._cut_off())
        if self.rest:
            lines.append(self._line(self.rest, b""))
            self.rest = b""
        return lines

    def _slowly(self, line: bytes) -> list[Line]:
        lines: list[Line] = []
        while True:
            eol = _CR_LF if line.endswith(_CR_LF) else _LF
            if len(line) - len(eol) <= self._max_line_bytes:
                return [*lines, self._line(line[: -len(eol)], eol)]
            cut = cut_place(line, self._max_line_bytes)
            lines.append(self._line(line[:cut], b""))
            line = line[cut:]

    def _cut_off(self) -> Line:
        cut = cut_place(self.rest, self._max_line_bytes)
        line = self._line(self.rest[:cut], b"")
        self.rest = self.rest[cut:]
        return line

    def _line(self, data: bytes, eol: bytes) -> Line:
        position = self.position
        self.position += len(data) + len(eol)
        self.chain = hashlib.sha256(self.chain + data + eol).digest()
        begins, self._begins = self._begins, bool(eol)
        if position == 0 and data.startswith(BYTE_ORDER_MARK):
            position, data = len(BYTE_ORDER_MARK), data[len(BYTE_ORDER_MARK) :]
        return Line(position, data, eol, self.chain, begins)
