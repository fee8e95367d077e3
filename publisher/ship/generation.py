"""The content of one log file, read as it grows, until it is rotated away or cut short."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from publisher.ship.checkpoint import Known
from publisher.ship.lineage import HEAD_BYTES, TAIL_BYTES, Line, Progress, advance
from publisher.ship.lines import Piece, Splitter

_CHUNK_BYTES = 262_144

Start = Callable[[Piece], Progress]
"""Gives the start of content whose first piece is known now."""


class ContentReplaced(Exception):
    """The file no longer holds what was read from it: it was cut short, or written anew."""


class Generation:
    """One content of a log, from its first byte on; a rotation begins the next one.

    path: where it was found. file: an open descriptor, closed by `close`.
    known: where to go on, None at the start; `start` then says what the ids begin with.
    """

    def __init__(
        self, path: Path, file: int, known: Known | None, start: Start, max_piece_bytes: int
    ) -> None:
        self.path = path
        self.content = known.content if known else uuid.uuid4().hex
        self.file = file
        self.progress = known.progress if known else None
        """The place behind the last line that was given, None before the first one."""
        self._start = start
        self._splitter = Splitter(known.progress.position if known else 0, max_piece_bytes)
        self.identity = identity_of(os.fstat(file))
        self.is_rotated = False
        """Whether it is no longer the file at the path of the log."""
        self.quiet_since: float | None = None
        """When its end was reached, None while there is more to read."""

    @property
    def is_young(self) -> bool:
        """Whether what was read is so little that other content may begin with it too."""
        return self._read_so_far()[0] < HEAD_BYTES

    def read(self) -> list[Line]:
        """Give the lines that are complete and were not given yet, some at a time.

        Nothing is given once the end is reached, for now.

        Raises ContentReplaced, OSError.
        """
        while True:
            position, tail = self._read_so_far()
            # What was read last is read again: a file that was cut short and has grown since
            # must not be taken for one that went on.
            found = os.pread(self.file, len(tail) + _CHUNK_BYTES, position - len(tail))
            if not found.startswith(tail):
                raise ContentReplaced
            arrived = found[len(tail) :]
            lines = [self._line(piece) for piece in self._splitter.feed(arrived)]
            if lines or not arrived:
                return lines

    def finish(self) -> list[Line]:
        """Give what is left of a line under way, when nothing will complete it."""
        return [self._line(piece) for piece in self._splitter.finish()]

    def so_far(self, source: str) -> Known:
        """Give how far it was read, a line under way included: what a file must have to be it.

        The chain is not that of this place: nothing can go on from here.
        """
        position, tail = self._read_so_far()
        given = self.progress or Progress("", 0, b"", "", b"", b"")
        head = (given.head + self._splitter.rest)[:HEAD_BYTES]
        progress = given._replace(position=position, chain=b"", head=head, tail=tail)
        return Known(source, self.content, self.identity, progress)

    def move_to(self, path: Path, file: int) -> None:
        """Go on in another file that holds the same content."""
        os.close(self.file)
        self.path = path
        self.file = file
        self.identity = identity_of(os.fstat(file))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def _read_so_far(self) -> tuple[int, bytes]:
        rest = self._splitter.rest
        position, tail = (self.progress.position, self.progress.tail) if self.progress else (0, b"")
        return position + len(rest), (tail + rest[-TAIL_BYTES:])[-TAIL_BYTES:]

    def _line(self, piece: Piece) -> Line:
        if self.progress is None:
            self.progress = self._start(piece)
        line = advance(self.progress, piece)
        self.progress = line.progress
        return line


def identity_of(status: os.stat_result) -> tuple[int, int]:
    """Give what a file is known by as long as it exists: its device and inode."""
    return status.st_dev, status.st_ino
