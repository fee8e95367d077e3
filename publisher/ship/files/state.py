"""The state of a content: what a checkpoint keeps of it, and the prefix of its ids."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from publisher.ship.files.identity import FileIdentity

HEAD_BYTES = 1024
TAIL_BYTES = 256
ID_DIGITS = 20
ID_POSITION_DIGITS = 12


class Place(NamedTuple):
    """A place behind a line of a content, with what it takes to go on there and to find it again.

    Args:
        position: bytes from the start of the content.
        chain: the digest of all lines before it; at the start, what the digests begin with.
        head: the first bytes, at most HEAD_BYTES of those before the position; at the start, of
            those that were read when its first line was sent.
        tail: the last bytes before the position, at most TAIL_BYTES.
    """

    position: int
    chain: bytes
    head: bytes = b""
    tail: bytes = b""


START = Place(0, b"")


@dataclass(slots=True)
class ContentState:
    """A content of a file as a checkpoint keeps it.

    Args:
        path: the real path of its file at the first sight, without the suffix of a compressed one.
        source: of its events.
        host: of which its ids are; "" if they are those of version 1 of the checkpoint, of no host.
        identity: of its file.
        start: what its digests begin with; not empty only where ids are made of the source alone.
        name: the prefix of its ids, "" until its first line is complete.
        place: up to where it was acknowledged.
        size, changed_ns: of its file when that was written down; the time in nanoseconds.
        refused: records of it that were kept otherwise than the format makes them.
        options: the options under which they were refused.
        ended: nothing more is expected of it.
        number: the number of its row, 0 before it is saved.
        last: the place behind its last line, when nothing more is expected of it; it has ended
            when it is acknowledged up to there.
    """

    path: str
    source: str
    host: str
    identity: FileIdentity
    start: bytes = b""
    name: str = ""
    place: Place = START
    size: int = 0
    changed_ns: int = 0
    refused: int = 0
    options: str = ""
    ended: bool = False
    number: int = 0
    last: Place | None = None

    def acknowledge(self, place: Place) -> None:
        """Take in up to where it is acknowledged."""
        self.place = place
        if self.last is not None and place.position >= self.last.position:
            self.ended = True

    def of_host(self, host: str) -> None:
        """Make the ids from here on those of another host, if it is another.

        Two machines with one image have one checkpoint, and may go on with the same lines.
        """
        if self.host and host != self.host:
            self.host = host
            if self.name:
                self.name = _digits(f"{host}\0{self.name}".encode())


class Naming:
    """Chooses the prefix of the ids of each content, which tells equal beginnings apart.

    Args:
        by_source: the ids are made of the source and the bytes alone, as versions before 0.2 did.
        taken: the prefixes that contents have which are known; None: every content is the first
            of its kind, so that a file has the same ids whenever it is sent.
    """

    def __init__(self, *, by_source: bool, taken: set[str] | None) -> None:
        self._by_source = by_source
        self._taken = taken

    def choose(self, state: ContentState, first_line: bytes) -> None:
        """Set the start and the name of a content by its first line, terminator included."""
        number = 0
        while True:
            if self._by_source:
                salt = str(number) if number else ""
                start = hashlib.sha256(f"{state.source}\0{salt}".encode()).digest()
                name = _digits(start + first_line)
            else:
                start = b""
                kind = f"{state.host}\0{state.source}\0{state.path}\0{number}\0"
                name = _digits(kind.encode(errors="surrogateescape") + first_line)
            if self._taken is None or name not in self._taken:
                break
            number += 1
        if self._taken is not None:
            self._taken.add(name)
        state.start, state.name = start, name


def _digits(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:ID_DIGITS]
