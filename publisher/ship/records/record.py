"""Records and their readers, as every format of lines has them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from publisher.ship.records.cutting import MAX_CHARACTER_BYTES

MAX_WAIT_S = 5.0
"""An unfinished record gets no more lines after this many seconds without one."""


class Line(NamedTuple):
    r"""A line of a content, or a part of a long one.

    Attributes:
        position: offset of its first byte in the plain content, in bytes from 0.
        data: the bytes without their terminator.
        eol: b"\n", b"\r\n", or b"" where a line was cut or the content ends without a newline.
        chain: digest of everything from the start of the content to the end of this line, 32 bytes.
        begins: False for the second and later parts of a line that was too long and was cut.
    """

    position: int
    data: bytes
    eol: bytes
    chain: bytes
    begins: bool


class Record(NamedTuple):
    """A record becomes an event.

    Attributes:
        position: offset of its first byte, part of its id.
        chain: digest for its id: the chain of its last line.
        payload: JSON text of an object.
        time: RFC 3339 in UTC; None: the time of sending is taken.
        event_id: the id; None: it is made of position and chain.
        topic: the topic; None: that of the command.
        source: the source; None: that of the content.
        lines: the lines that it is made of. A refused line that is too long for one event takes
            several records; all but the last of these have none.
        refused: why it is stored as text in place of what the format makes of it, one sentence;
            "" if it is not.
        time_unread: whether it should have had a time that could not be read.
    """

    position: int
    chain: bytes
    payload: bytes
    time: str | None
    event_id: str | None
    topic: str | None
    source: str | None
    lines: tuple[Line, ...]
    refused: str = ""
    time_unread: bool = False


class ContentNames(NamedTuple):
    """The names of a content, from which sources are made.

    Attributes:
        host: name of the host.
        path: path of the content.
        name: base name of the path.
        first_line: the first line of the content, for a reader that begins further on; None: the
            first line that it is fed is that line.
    """

    host: str
    path: str
    name: str
    first_line: bytes | None = None


class Reader(Protocol):
    """A reader makes records of the lines of one content, in order."""

    def feed(self, lines: Sequence[Line], now: float) -> list[Record]:
        """Give the records that are complete with these lines.

        Args:
            lines: they follow those of the last call.
            now: seconds of a steady clock. A record is not ended by it: lines may have stood in
                the file for long before they are read.
        """

    def expire(self, now: float) -> list[Record]:
        """Give what has waited for MAX_WAIT_S for lines that would complete it.

        Args:
            now: seconds of the same clock. The content must have been read to its end by then.
        """

    def finish(self) -> list[Record]:
        """Give whatever is unfinished: the content has ended."""

    @property
    def unfinished(self) -> Line | None:
        """The line from which another reader has to go on; None: from the next one.

        A reader that begins there gives all records that this one has not given yet, and none that
        differs from one that was given. It is the first line that no record holds, or an earlier
        one where records of several streams overlap.
        """


class Format(Protocol):
    """A format says which records lines become."""

    @property
    def name(self) -> str:
        """The name of the format on the command line."""

    @property
    def max_line_bytes(self) -> int:
        """The greatest length of a line, in bytes; longer ones are cut before they are fed."""

    def reader(self, names: ContentNames) -> Reader:
        """Make a reader for one content."""


def is_cut(line: Line, max_line_bytes: int) -> bool:
    """Tell whether this may be a part of a line that was too long.

    Args:
        line: the line.
        max_line_bytes: that of the format.
    """
    return not line.begins or (
        not line.eol and len(line.data) > max_line_bytes - MAX_CHARACTER_BYTES
    )


def too_long(max_line_bytes: int) -> str:
    """Give the reason for which a part of a line is refused."""
    return f"it is longer than {max_line_bytes:,} bytes"
