"""The statements that read the log, and the conversions of what they return.

Rows of the log come from the database as one row, which has a column of theirs in each of its
values. For every row that Python takes from SQLite it gives up the interpreter lock and has to get
it back, which beside a busy event loop may take it milliseconds.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from storage.model import EventColumns
from storage.reading.offset_ranges import OffsetRange

Row: TypeAlias = Sequence[Any]
Rows: TypeAlias = Callable[[str, Sequence[object]], Awaitable[Sequence[Row]]]
"""Runs a statement with its arguments and returns all of its rows."""


HEAD = "SELECT unique_processed FROM topics WHERE topic = $1"
"""The head offset of a topic; no row if it has no event."""


class ReadingSql(NamedTuple):
    """The statements with which a backend reads rows of the log.

    Args:
        columns: the `EventColumns` of one range as one row. Parameters: topic, first and last
            offset, maximum bytes of a payload that is fetched.
        columns_of_ranges: the same for several ranges. Parameters: those that `range_arguments`
            makes, maximum bytes of a payload.
        matches: the number of the range (from 0) and the offset of each of their rows of a source,
            as one row. Parameters: those of the ranges, the source.
        event: the `EventColumns` of the event with a key as one row. Parameters: topic, event id,
            maximum bytes of a payload.
        payload: the payload of a topic and an offset, or None if it is larger than the third
            parameter.
        payload_bytes: its size.
    """

    columns: str
    columns_of_ranges: str
    matches: str
    event: str
    payload: str
    payload_bytes: str

    @property
    def head_and_columns(self) -> str:
        """The head offset of the topic ahead of what `columns` gives, both of the same moment."""
        return f"SELECT ({HEAD}), c.* FROM ({self.columns}) AS c"


class RowDecoder(NamedTuple):
    """The conversions between Python's values and those of a backend's `ReadingSql`.

    Args:
        range_arguments: makes the parameters for ranges.
        columns: converts the row of a statement into columns; `topics` is left empty.
        matches: converts the row of `matches` into the numbers and the offsets.
    """

    range_arguments: Callable[[Sequence[OffsetRange]], Sequence[object]]
    columns: Callable[[Row], EventColumns]
    matches: Callable[[Row], tuple[Sequence[int], Sequence[int]]]


async def fetch_first(rows: Rows, sql: str, arguments: Sequence[object]) -> Row | None:
    """Fetch the first row of a statement that has few; None if it has none."""
    found = await rows(sql, arguments)
    return found[0] if found else None


async def fetch_value(rows: Rows, sql: str, arguments: Sequence[object]) -> Any:
    """Fetch the first value of a statement's first row; None if it has no row."""
    row = await fetch_first(rows, sql, arguments)
    return None if row is None else row[0]
