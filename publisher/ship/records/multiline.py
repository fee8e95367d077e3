"""Records of several lines, such as a message with its stack trace."""

import re
from collections.abc import Sequence

from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.record import MAX_WAIT_S, Line, Record
from publisher.ship.records.text import text_payload
from publisher.ship.records.times import Times


class RecordStart:
    """A regular expression tells which lines begin a record.

    Args:
        pattern: it has to match from the first character of a line on. Bytes that are not UTF-8
            are U+FFFD to it.

    Raises:
        ValueError: it is no regular expression; one sentence.
    """

    def __init__(self, pattern: str) -> None:
        try:
            self._match = re.compile(pattern).match
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(
                f"--multiline {pattern!r} is no regular expression: {error}"
            ) from error

    def matches(self, data: bytes) -> bool:
        """Tell whether a line begins a record.

        Args:
            data: the line without its terminator.
        """
        return self._match(data.decode(errors="replace")) is not None


class MultilineReader:
    """A reader that joins lines to the one before them that begins a record.

    A record is complete when the next one begins, when it would get longer than MAX_PIECE_BYTES,
    before a part of a line that was cut, and after MAX_WAIT_S without a line.

    Args:
        start: tells which lines begin a record.
        times: reads the time at the beginning of a record; without it, no record has one.
    """

    def __init__(self, start: RecordStart, times: Times | None) -> None:
        self._start = start
        self._times = times
        self._open: list[Line] = []
        self._size_bytes = 0
        self._since = 0.0

    @property
    def unfinished(self) -> Line | None:
        """The first line of the open record."""
        return self._open[0] if self._open else None

    def feed(self, lines: Sequence[Line], now: float) -> list[Record]:
        """Give the records that end before one of these lines."""
        records = []
        for line in lines:
            if self._open and (
                not line.begins
                or self._size_bytes + len(line.data) > MAX_PIECE_BYTES
                or self._start.matches(line.data)
            ):
                records.append(self._close())
            self._open.append(line)
            self._size_bytes += len(line.data) + len(line.eol)
            self._since = now
            if not line.begins:
                records.append(self._close())
        return records

    def expire(self, now: float) -> list[Record]:
        """Give the open record if no line came for MAX_WAIT_S."""
        return self.finish() if now - self._since >= MAX_WAIT_S else []

    def finish(self) -> list[Record]:
        """Give the open record."""
        return [self._close()] if self._open else []

    def _close(self) -> Record:
        lines = tuple(self._open)
        self._open = []
        self._size_bytes = 0
        first, last = lines[0], lines[-1]
        if len(lines) == 1:
            data = first.data
        else:
            data = b"".join([part for line in lines for part in (line.data, line.eol)])
            data = data[: len(data) - len(last.eol)]
        time = self._times and first.begins and self._times.of_line(first.data)
        unread = bool(self._times and not time and first.begins and self._start.matches(first.data))
        payload = text_payload(first.position, data, last.eol)
        return Record(
            first.position,
            last.chain,
            payload,
            time or None,
            None,
            None,
            None,
            lines,
            time_unread=unread,
        )
