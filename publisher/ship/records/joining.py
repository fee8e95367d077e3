"""Lines of containers, which their runtimes write in pieces, are joined."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.record import MAX_WAIT_S, Line, Record
from publisher.ship.records.text import refused_records, text_member
from publisher.ship.records.time_values import rfc3339

_encode = msgspec.json.Encoder().encode


class Piece(NamedTuple):
    """A piece of a container's line, as one line of its log has it.

    Attributes:
        stream: stdout or stderr.
        content: the bytes, without the newline that ends the container's line.
        ends: whether the container's line ends with it.
        time: RFC 3339, as it is written.
        members: further members of the payload.
    """

    stream: str
    content: bytes
    ends: bool
    time: str
    members: dict[str, object]


class _Open:
    """A container's line under way."""

    def __init__(self, line: Line, piece: Piece) -> None:
        self.lines = [line]
        self.pieces = [piece]
        self.size_bytes = len(piece.content)
        self.since = 0.0
        self.safe = line
        """The line from which another reader would make the same records."""

    def add(self, line: Line, piece: Piece) -> None:
        self.lines.append(line)
        self.pieces.append(piece)
        self.size_bytes += len(piece.content)


class JoiningReader:
    """A reader that joins the pieces of containers' lines, each stream apart.

    A record is complete with the last piece of a container's line, when it would get longer than
    MAX_PIECE_BYTES, and after MAX_WAIT_S without a piece; what follows is a record of its own then.

    Args:
        parse: takes a line apart. It raises ValueError with one sentence when it can't: the line is
            stored as text then.
    """

    def __init__(self, parse: Callable[[Line], Piece]) -> None:
        self._parse = parse
        self._open: dict[str, _Open] = {}

    @property
    def unfinished(self) -> Line | None:
        """The line from which another reader would give the same records."""
        return min([each.safe for each in self._open.values()], default=None)

    def feed(self, lines: Sequence[Line], now: float) -> list[Record]:
        """Give the records that are complete with these lines."""
        records = []
        for line in lines:
            try:
                piece = self._parse(line)
            except ValueError as error:
                records += refused_records(line, str(error))
                continue
            under_way = self._open.get(piece.stream)
            if under_way and under_way.size_bytes + len(piece.content) > MAX_PIECE_BYTES:
                records.append(self._close(piece.stream))
                under_way = None
            if under_way:
                under_way.add(line, piece)
            else:
                under_way = self._open[piece.stream] = _Open(line, piece)
            under_way.since = now
            if piece.ends:
                records.append(self._close(piece.stream))
        return records

    def expire(self, now: float) -> list[Record]:
        """Give what has got no piece for MAX_WAIT_S."""
        return self._close_all(
            [stream for stream, each in self._open.items() if now - each.since >= MAX_WAIT_S]
        )

    def finish(self) -> list[Record]:
        """Give what is under way."""
        return self._close_all(list(self._open))

    def _close_all(self, streams: list[str]) -> list[Record]:
        return sorted(self._close(stream) for stream in streams)

    def _close(self, stream: str) -> Record:
        closed = self._open.pop(stream)
        first, last = closed.lines[0], closed.lines[-1]
        for other in self._open.values():
            # From the first line of the other one on, another reader would find the end of this
            # record without its beginning.
            if first < other.lines[0] < last:
                other.safe = min(other.safe, closed.safe)
        return _record(closed.lines, closed.pieces)


def _record(lines: Sequence[Line], pieces: Sequence[Piece]) -> Record:
    position = lines[0].position
    content = b"".join([piece.content for piece in pieces])
    _, _, _, time, members = pieces[0]
    stamp = rfc3339(time)
    payload = {"position": position, "stream": pieces[0].stream, **text_member(content), **members}
    return Record(
        position,
        lines[-1].chain,
        _encode(payload),
        stamp,
        None,
        None,
        None,
        tuple(lines),
        time_unread=stamp is None,
    )
