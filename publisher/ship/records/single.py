"""Readers of formats in which a line is a record, or is refused."""

from collections.abc import Callable, Iterable, Sequence

from publisher.ship.records.record import Line, Record, is_cut, too_long
from publisher.ship.records.text import refused_records


class SingleLineReader:
    """A reader whose records are complete with one line, so that nothing ever waits.

    Args:
        make: makes the records of a line. It raises ValueError with one sentence, or
            RecursionError, when the format has none for it: it is stored as text then.
        max_line_bytes: that of the format.
    """

    unfinished: Line | None = None

    def __init__(self, make: Callable[[Line], Iterable[Record]], max_line_bytes: int) -> None:
        self._make = make
        self._max_line_bytes = max_line_bytes

    def feed(self, lines: Sequence[Line], now: float) -> list[Record]:  # noqa: ARG002 - Reader
        """Give the records of these lines."""
        records: list[Record] = []
        for line in lines:
            if not line.begins:
                records += refused_records(line, too_long(self._max_line_bytes))
                continue
            try:
                records += self._make(line)
            except (ValueError, RecursionError) as error:
                records += refused_records(line, self._reason(line, error))
        return records

    def expire(self, now: float) -> list[Record]:  # noqa: ARG002 - Reader
        """Give nothing: nothing waits."""
        return []

    def finish(self) -> list[Record]:
        """Give nothing: nothing waits."""
        return []

    def _reason(self, line: Line, error: Exception) -> str:
        if is_cut(line, self._max_line_bytes):
            return too_long(self._max_line_bytes)
        return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
