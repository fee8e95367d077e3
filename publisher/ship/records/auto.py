"""The format `auto`: each content is in the format of its first line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from publisher.ship.records import combined, cri, docker, journal
from publisher.ship.records.combined import CombinedFormat
from publisher.ship.records.cri import CriFormat
from publisher.ship.records.cutting import MAX_PIECE_BYTES
from publisher.ship.records.docker import DockerFormat
from publisher.ship.records.journal import JournalFormat
from publisher.ship.records.lines import LinesFormat
from publisher.ship.records.record import ContentNames, Format, Line, Reader, Record
from publisher.ship.records.source import SourceTemplate


@dataclass(frozen=True, slots=True)
class AutoFormat:
    """Contents have formats of their own.

    JSON objects that are none of Docker's or the journal's are lines: the rule by which ids are
    made must not change by guess. An entry of a journal that is longer than a line may be is text.

    Args:
        source: the template of sources, if there is one; it has no fields.
    """

    source: SourceTemplate | None = None
    name: str = "auto"
    max_line_bytes: int = MAX_PIECE_BYTES

    def reader(self, names: ContentNames) -> Reader:
        """Make a reader for one content; `names.first_line` decides if it is known."""
        if names.first_line is not None:
            return self.decide(names.first_line).reader(names)
        return _AutoReader(self.decide, names)

    def decide(self, first_line: bytes) -> Format:
        """Give the format of a content.

        Args:
            first_line: its first line, without the terminator.
        """
        if _fits(cri.parse_entry, first_line):
            return CriFormat()
        if _fits(docker.parse_entry, first_line):
            return DockerFormat()
        if _fits(_parse_journal, first_line):
            return JournalFormat(self.source, max_line_bytes=self.max_line_bytes)
        if _fits(combined.parse_entry, first_line):
            return CombinedFormat()
        return LinesFormat()


class _AutoReader:
    """A reader that becomes that of a format with the first line."""

    def __init__(self, decide: Callable[[bytes], Format], names: ContentNames) -> None:
        self._decide = decide
        self._names = names
        self._reader: Reader | None = None

    @property
    def unfinished(self) -> Line | None:
        return self._reader.unfinished if self._reader else None

    def feed(self, lines: Sequence[Line], now: float) -> list[Record]:
        if not lines:
            return []
        if self._reader is None:
            self._reader = self._decide(lines[0].data).reader(self._names)
        return self._reader.feed(lines, now)

    def expire(self, now: float) -> list[Record]:
        return self._reader.expire(now) if self._reader else []

    def finish(self) -> list[Record]:
        return self._reader.finish() if self._reader else []


def _parse_journal(data: bytes) -> None:
    if journal.REALTIME not in journal.parse_entry(data):
        raise ValueError("it is no entry of a journal")


def _fits(parse: Callable[[bytes], object], data: bytes) -> bool:
    try:
        parse(data)
    except (ValueError, RecursionError):
        return False
    return True
