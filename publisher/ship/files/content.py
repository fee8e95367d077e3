"""A content of a log file, read as it grows and made records of."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from publisher.ship.files.line_reader import BYTE_ORDER_MARK, LineReader
from publisher.ship.files.readable_file import ReadableFile, plain_path
from publisher.ship.files.state import HEAD_BYTES, TAIL_BYTES, ContentState, Naming, Place
from publisher.ship.records.record import Line, Reader, Record

CHUNK_BYTES = 131_072
HOLE_BYTES = 512


class ContentReplaced(Exception):
    """The file no longer holds what was read from it: it was cut short, or written anew."""


class Slice(NamedTuple):
    """Records of a content, one after the other.

    Args:
        content: whose they are.
        records: the records.
        place: up to where the content is acknowledged when they are; None if that is no news.
    """

    content: "Content"
    records: list[Record]
    place: Place | None


class Content:
    """Reads a content, from the place that its state tells.

    Args:
        state: what is known of it; changed when it gets its name, and by who acknowledges.
        file: holds it.
        naming: chooses its name by its first line.
        reader: makes records of its lines.
        max_line_bytes: longer lines are cut.
    """

    def __init__(
        self,
        state: ContentState,
        file: ReadableFile,
        naming: Naming,
        reader: Reader,
        max_line_bytes: int,
    ) -> None:
        self.state = state
        self.file = file
        self.path = file.path
        """Where its file was seen last."""
        self.is_there = True
        """Whether a name that is shipped leads to its file."""
        self.quiet_since: float | None = None
        """When its end was reached, by a steady clock in seconds; None while there is more."""
        self.is_closed = False
        """Whether it has another name or place than its writer gave it, so that it may be whole."""
        self.may_end = False
        """Whether that is so, and its last line was not sent since."""
        self.changed_ns = 0
        self.may_have_more = True
        """Whether there may be more than was read, as far as was seen."""
        self._seen = (-1, -1)
        self._seen_bytes = 0
        """The size that its file had when it was seen last."""
        self._naming = naming
        self._reader = reader
        self._max_line_bytes = max_line_bytes
        # Known by its name, and nothing of it acknowledged yet.
        self._begin(state.place if state.place.position else Place(0, state.start))

    def _begin(self, place: Place) -> None:
        begins = not place.position or not place.tail or place.tail.endswith(b"\n")
        self._lines = LineReader(place.position, place.chain, self._max_line_bytes, begins=begins)
        self._head = place.head
        self._kept = place.tail
        """The bytes that were read last: TAIL_BYTES before `_place`, and all behind it."""
        self._place = place
        """Behind the records that were returned, before any that is unfinished."""
        self._before: dict[int, bytes] = {}
        """The digest before each line that was read behind `_place`, by its position."""

    @property
    def read_bytes(self) -> int:
        """How far it was read, a line under way included."""
        return self._lines.position + len(self._lines.rest)

    @property
    def is_unfinished(self) -> bool:
        """Whether a record waits for lines that complete it."""
        return self._reader.unfinished is not None

    @property
    def head(self) -> bytes:
        """The first bytes that were read, at most HEAD_BYTES."""
        return self._head

    @property
    def name(self) -> str:
        """The prefix of the ids of its records."""
        return self.state.name

    @property
    def source(self) -> str:
        """The source of its events, unless a record has its own."""
        return self.state.source

    def read(self, now: float) -> Slice | None:
        """Return the next records, some at a time; None at the end, for now.

        Raises:
            ContentReplaced: the file does not hold what was read before it.
            Damaged: a compressed file is broken.
            OSError: the file cannot be read.
        """
        while True:
            arrived = self._arrived()
            if not arrived:
                self.may_have_more = False
                if self.quiet_since is None:
                    self.quiet_since = now
                return None
            self.quiet_since = None
            self.may_end = self.is_closed
            records, place = self._take(arrived, now)
            if records or place:
                return Slice(self, records, place)

    def expire(self, now: float) -> list[Slice]:
        """Return the records that have waited too long for what would complete them."""
        records = self._reader.expire(now)
        return [Slice(self, records, self._placed([], 0, b""))] if records else []

    def finish(self, now: float, *, ended: bool) -> list[Slice]:
        """Return what is left, as nothing more is expected.

        Args:
            now: by a steady clock in seconds.
            ended: go behind a last line without newline; else it counts as under way.
        """
        position, chain, rest = self._lines.position, self._lines.chain, self._lines.rest
        lines = self._lines.finish()
        if lines and self._name(lines[0]):
            self._lines = LineReader(0, self.state.start, self._max_line_bytes)
            lines = self._lines.feed(rest) + self._lines.finish()
            position, chain = 0, self.state.start
        records = self._reader.feed(lines, now) + self._reader.finish()
        place = self._placed(lines, position, chain) if ended or not lines else None
        return [Slice(self, records, place)] if records or place else []

    def move_to(self, file: ReadableFile) -> None:
        """Go on in another file, which holds the same bytes."""
        self.file.close()
        self.file = file
        self.path = file.path
        self.quiet_since = None
        self.is_closed = self.may_end = True

    def is_cut(self, path: Path, status: os.stat_result) -> bool:
        """Take in that its file was seen; tell whether it has less than was read, or seen before.

        Args:
            path: where it was seen.
            status: of the file.
        """
        self.is_there = True
        self.changed_ns = status.st_mtime_ns
        if path != self.path:
            self.path = self.file.path = path
            self.is_closed = self.may_end = self.may_have_more = True
            self.quiet_since = None
        seen_bytes, self._seen_bytes = self._seen_bytes, status.st_size
        seen = status.st_size, status.st_mtime_ns
        self.may_have_more = self.may_have_more or seen != self._seen
        self._seen = seen
        return not self.file.is_compressed and status.st_size < max(self.read_bytes, seen_bytes)

    def is_emptied(self) -> bool:
        """Tell whether its file, to which no name leads any more, has less than it had."""
        had_bytes = max(self.read_bytes, self._seen_bytes)
        with suppress(OSError):
            return not self.file.is_compressed and self.file.status().st_size < had_bytes
        return False

    def has_size(self, size: int) -> None:
        """Take in which size its file has."""
        self._seen_bytes = size

    def as_read(self) -> ContentState:
        """Return the state that it would have if all that was read was acknowledged."""
        read = replace(self.state)
        kept = self._kept[-TAIL_BYTES:]
        rest = self._lines.rest
        chain = hashlib.sha256(self._lines.chain + rest).digest() if rest else self._lines.chain
        read.place = Place(self.read_bytes, chain, self._head, kept)
        return read

    def _arrived(self) -> bytes:
        end = self.read_bytes
        # What was read last is read again: a file that was cut short and has grown since must not
        # be taken for one that went on.
        last = b"" if self.file.is_compressed else self._kept[-TAIL_BYTES:]
        found = self.file.read(end - len(last), len(last) + CHUNK_BYTES)
        if not found.startswith(last):
            raise ContentReplaced
        if end or not found.startswith(bytes(min(len(found), HOLE_BYTES))):
            return found[len(last) :]
        hole = hole_bytes(self.file)
        if hole:
            self._begin(Place(hole, b"", bytes(min(hole, HEAD_BYTES)), bytes(TAIL_BYTES)))
            self._lines = LineReader(hole, b"", self._max_line_bytes)
        elif len(found) >= HOLE_BYTES:
            return b""  # nothing stands behind it yet
        return self.file.read(hole, CHUNK_BYTES)

    def _take(self, arrived: bytes, now: float) -> tuple[list[Record], Place | None]:
        position, chain, rest = self._lines.position, self._lines.chain, self._lines.rest
        if len(self._head) < HEAD_BYTES:
            self._head = (self._head + arrived)[:HEAD_BYTES]
        self._kept += arrived
        lines = self._lines.feed(arrived)
        if lines and self._name(lines[0]):
            self._lines = LineReader(position, self.state.start, self._max_line_bytes)
            lines = self._lines.feed(rest + arrived)
            chain = self.state.start
        records = self._reader.feed(lines, now)
        return records, self._placed(lines, position, chain)

    def _name(self, line: Line) -> bool:
        """Name the content by its first line, if it has no name; tell if the digests begin anew."""
        if self.state.name:
            return False
        self._naming.choose(self.state, line.data + line.eol)
        return bool(self.state.start)

    def _placed(self, lines: Sequence[Line], position: int, chain: bytes) -> Place | None:
        """Return the place before what is unfinished, if it is another than before.

        Args:
            lines: that were just read.
            position: where they begin.
            chain: the digest of what stands before them.
        """
        unfinished = self._reader.unfinished
        if unfinished is None:
            self._before.clear()
            position, chain = self._lines.position, self._lines.chain
        else:
            for line in lines:
                self._before[line.position] = chain
                chain = line.chain
            position, chain = unfinished.position, self._before[unfinished.position]
            for earlier in [other for other in self._before if other < position]:
                del self._before[earlier]
            if position == len(BYTE_ORDER_MARK) and self._place.position == 0:
                position = 0
        if position == self._place.position:
            return None
        kept_from = self._lines.position + len(self._lines.rest) - len(self._kept)
        tail = self._kept[: position - kept_from][-TAIL_BYTES:]
        self._kept = tail + self._kept[position - kept_from :]
        self._place = Place(position, chain, self._head[:position], tail)
        return self._place


def hole_bytes(file: ReadableFile) -> int:
    """Return how many NULs stand at the start of a file, if a writer left them by a gap.

    0 if they are fewer than HOLE_BYTES, or if nothing stands behind them yet.

    Raises:
        OSError: the file cannot be read.
    """
    position = 0
    while chunk := file.read(position, CHUNK_BYTES):
        behind = chunk.lstrip(b"\0")
        position += len(chunk) - len(behind)
        if behind or position < HOLE_BYTES:
            break
    else:
        return 0
    return position if position >= HOLE_BYTES else 0


def named_path(file: ReadableFile) -> Path:
    """Return the path that a content is named by: without the suffix of a compressed file."""
    return plain_path(file.path) if file.is_compressed else file.path
