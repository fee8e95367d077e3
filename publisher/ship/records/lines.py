"""The format `lines`: every line is a record, byte for byte."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.multiline import MultilineReader, RecordStart
from publisher.ship.records.record import ContentNames, Line, Reader, Record
from publisher.ship.records.text import text_payload
from publisher.ship.records.times import Times

_encode = msgspec.json.Encoder().encode
_BLANKS = (b" ", b"\t")


@dataclass(frozen=True, slots=True)
class LinesFormat:
    """Lines are records, or several of them are one.

    Args:
        times: reads the time at the beginning of a record; without it, no record has one.
        start: tells which lines begin a record; without it, each does.
    """

    times: Times | None = None
    start: RecordStart | None = None
    name: str = "lines"
    max_line_bytes: int = MAX_PIECE_BYTES

    def reader(self, names: ContentNames) -> Reader:  # noqa: ARG002 - Format
        """Make a reader for one content."""
        if self.start is not None:
            return MultilineReader(self.start, self.times)
        if self.times is not None:
            return TimedReader(self.times)
        return PlainReader()


class PlainReader:
    """A reader of lines without any option: the busiest one, so with little to do for each."""

    unfinished: Line | None = None

    def feed(self, lines: Sequence[Line], now: float) -> list[Record]:  # noqa: ARG002 - Reader
        """Give a record for each line."""
        records: list[Record] = []
        append = records.append
        encode = _encode
        new = tuple.__new__  # half the time of the constructor, which has to look at defaults
        for line in lines:
            position, data, eol, chain, _ = line
            if eol == b"\n":
                try:
                    payload = encode({"position": position, "line": data.decode()})
                except UnicodeDecodeError:
                    payload = text_payload(position, data, eol)
            else:
                payload = text_payload(position, data, eol)
            append(
                new(
                    Record,
                    (position, chain, payload, None, None, None, None, (line,), "", False),
                )
            )
        return records

    def expire(self, now: float) -> list[Record]:  # noqa: ARG002 - Reader
        """Give nothing: nothing waits."""
        return []

    def finish(self) -> list[Record]:
        """Give nothing: nothing waits."""
        return []


class TimedReader(PlainReader):
    """A reader of lines that begin with a time.

    Args:
        times: reads it.
    """

    def __init__(self, times: Times) -> None:
        self._times = times

    def feed(self, lines: Sequence[Line], now: float) -> list[Record]:
        """Give a record for each line."""
        records = super().feed(lines, now)
        return [self._timed(record, line) for record, line in zip(records, lines, strict=True)]

    def _timed(self, record: Record, line: Line) -> Record:
        if not line.begins:
            return record
        time = self._times.of_line(line.data)
        # What is indented belongs to a line before it, and has no time of its own.
        unread = time is None and line.data != b"" and not line.data.startswith(_BLANKS)
        return record._replace(time=time, time_unread=unread)
