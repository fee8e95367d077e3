"""The format `cri`: what containerd and CRI-O write of the containers of Kubernetes."""

import re
from dataclasses import dataclass

from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.joining import JoiningReader, Piece
from publisher.ship.records.record import ContentNames, Line, Reader, is_cut, too_long

_entry = re.compile(
    rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9]{2}:[0-9]{2})) (stdout|stderr) "
    rb"([PF])(?::[^ ]*)?(?: (.*))?",
    re.DOTALL,
).fullmatch


@dataclass(frozen=True, slots=True)
class CriFormat:
    """Lines are time, stream, tag and a piece of a container's line.

    A piece whose tag is `P` goes on in the next one of its stream, one with `F` does not.
    """

    name: str = "cri"
    max_line_bytes: int = MAX_PIECE_BYTES

    def reader(self, names: ContentNames) -> Reader:  # noqa: ARG002 - Format
        """Make a reader for one content."""
        return JoiningReader(self._piece)

    def _piece(self, line: Line) -> Piece:
        if is_cut(line, self.max_line_bytes):
            raise ValueError(too_long(self.max_line_bytes))
        # Only the newline is the runtime's; a carriage return before it is the container's.
        return parse_entry(line.data + line.eol[:-1])


def parse_entry(data: bytes) -> Piece:
    """Parse a line of a runtime.

    Raises:
        ValueError: it is none; one sentence.
    """
    match = _entry(data)
    if match is None:
        raise ValueError("it is not a time, stdout or stderr, P or F, and a text, as CRI has it")
    time, stream, tag, content = match.groups()
    return Piece(stream.decode(), content or b"", tag == b"F", time.decode(), {})
