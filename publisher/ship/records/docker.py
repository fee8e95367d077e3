"""The format `docker`: what the driver json-file of Docker writes."""

from dataclasses import dataclass

import msgspec

from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.joining import JoiningReader, Piece
from publisher.ship.records.record import ContentNames, Line, Reader, is_cut, too_long

_STREAMS = frozenset({"stdout", "stderr"})


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """A line of the driver."""

    log: str
    stream: str
    time: str = ""
    attrs: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Entry).decode


@dataclass(frozen=True, slots=True)
class DockerFormat:
    """Lines are JSON objects with a piece of a container's line.

    The driver cuts a container's line after 16,384 bytes; the last piece ends with a newline.
    """

    name: str = "docker"
    max_line_bytes: int = MAX_PIECE_BYTES

    def reader(self, names: ContentNames) -> Reader:  # noqa: ARG002 - Format
        """Make a reader for one content."""
        return JoiningReader(self._piece)

    def _piece(self, line: Line) -> Piece:
        if is_cut(line, self.max_line_bytes):
            raise ValueError(too_long(self.max_line_bytes))
        return parse_entry(line.data)


def parse_entry(data: bytes) -> Piece:
    """Parse a line of the driver.

    Raises:
        ValueError: it is none; one sentence.
    """
    try:
        entry = _decode(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"it is no line of Docker's json-file ({error})") from error
    if entry.stream not in _STREAMS:
        raise ValueError(f"its stream is {entry.stream!r}, not stdout or stderr")
    ends = entry.log.endswith("\n")
    content = entry.log[:-1] if ends else entry.log
    members: dict[str, object] = {"attrs": entry.attrs} if bytes(entry.attrs) else {}
    return Piece(entry.stream, content.encode(), ends, entry.time, members)
