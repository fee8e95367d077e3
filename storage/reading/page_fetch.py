"""Fetching of a page in chunks of rows that are bounded in bytes before they are fetched.

How large a row is shows only when it is there, and then it is too late: a thousand rows may be a
few kilobytes or a gigabyte. So a statement gives the payload only of rows whose payload is small
enough for the whole chunk to stay within its bytes, and NULL for the others, which are fetched
alone. How many rows the next chunk has follows from the bytes of the last one.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from storage.errors import PayloadOverLimit
from storage.model import LogEvent, Query

Row: TypeAlias = Sequence[Any]
Rows: TypeAlias = Callable[[str, Sequence[object]], Awaitable[Sequence[Row]]]
"""Runs a statement with its arguments and returns all of its rows."""

PAGE_BYTES = 8 * 2**20
"""A page ends after the event that takes its payloads to this many bytes."""

MAX_CHUNK_BYTES = 2 * 2**20
"""Maximum payload bytes of one chunk, unless it is one row."""

MAX_CHUNK_ROWS = 1024
_FIRST_CHUNK_ROWS = 32
"""Nothing is known of their sizes: to measure a payload, SQLite has to read it."""
_MAX_SIZE_RATIO = 4
"""A row is fetched with its chunk if it is at most so many times as large as those before."""

_MAX_SINGLE_FETCHES = 8
"""After so many payloads fetched one at a time the next chunk is made for their size."""

_PAYLOAD_COPIES = 3
"""A payload under way is held by the driver, in pieces and in one, and by the row."""

_MAX_ROW_BYTES = 3072
"""Maximum memory of a row beside its payload: names of 256 characters of four bytes each."""

PAYLOAD = 'SELECT {payload} FROM events WHERE topic = $1 AND "offset" = $2'


def page_memory_bytes(events: int, max_payload_bytes: int) -> int:
    """Compute the maximum memory of reading a page, in bytes, before its response is made.

    Args:
        events: maximum number of events of the page.
        max_payload_bytes: the largest payload that is fetched.
    """
    chunk_bytes = MAX_CHUNK_BYTES + _PAYLOAD_COPIES * max_payload_bytes
    return PAGE_BYTES + chunk_bytes + events * _MAX_ROW_BYTES


def event_memory_bytes(max_payload_bytes: int) -> int:
    """Compute the maximum memory of reading one event, in bytes, before its response is made."""
    return _PAYLOAD_COPIES * max_payload_bytes + _MAX_ROW_BYTES


class PayloadSql(NamedTuple):
    """SQL expressions with which a backend fetches a payload.

    Args:
        value: its bytes.
        length: how many they are.
        small: whether they are at most `{max_bytes}`.
    """

    value: str
    length: str
    small: str

    def up_to(self, max_bytes: str) -> str:
        """Make the expression of a payload, or of NULL if the payload is larger.

        Args:
            max_bytes: the SQL expression of its maximum size.
        """
        return f"CASE WHEN {self.small.format(max_bytes=max_bytes)} THEN {self.value} END"


BoundsAfter: TypeAlias = Callable[[LogEvent | None], Sequence[object]]


class RowRange(NamedTuple):
    """The range of rows that a page is fetched from.

    Args:
        sql: selects them in order. Its parameters are bounds, LIMIT, the maximum bytes of a payload
            that is fetched, filters.
        bounds_after: the bounds of the rows after an event; those of all rows for None.
        filters: the last arguments.
        payload: how the backend fetches a payload.
    """

    sql: str
    bounds_after: BoundsAfter
    filters: Sequence[object]
    payload: PayloadSql


async def fetch_page(rows: Rows, row_range: RowRange, query: Query) -> tuple[list[LogEvent], bool]:
    """Fetch rows until the page is full.

    Args:
        rows: runs statements.
        row_range: where the rows come from.
        query: says how many events and how large a payload.

    Returns:
        The events, and whether another row follows.

    Raises:
        PayloadOverLimit: the payload of the first row is larger than the query allows.
    """
    events: list[LogEvent] = []
    size = 0
    chunk_rows = _FIRST_CHUNK_ROWS
    while True:
        full = len(events) == query.limit or size >= PAGE_BYTES
        # One row more than the page takes, to know whether there is one.
        wanted = 1 if full else min(chunk_rows, query.limit + 1 - len(events))
        max_bytes = 0 if full else min(MAX_CHUNK_BYTES // wanted, query.max_payload_bytes)
        bounds = row_range.bounds_after(events[-1] if events else None)
        found = await rows(row_range.sql, (*bounds, wanted, max_bytes, *row_range.filters))
        begun, begun_size, fetched_singly = len(events), size, 0
        for row in found:
            if len(events) == query.limit or size >= PAGE_BYTES:
                return events, True
            if row[-1] is not None:
                event = LogEvent(*row)
            elif fetched_singly == _MAX_SINGLE_FETCHES:
                break
            else:
                fetched_singly += 1
                try:
                    event = await fetch_event(rows, row_range.payload, row, query.max_payload_bytes)
                except PayloadOverLimit:
                    if not events:
                        raise
                    return events, True
            events.append(event)
            size += len(event.payload)
        else:
            if len(found) < wanted:
                return events, False
        mean = (size - begun_size) / (len(events) - begun)
        chunk_rows = max(1, min(MAX_CHUNK_ROWS, int(MAX_CHUNK_BYTES / (_MAX_SIZE_RATIO * mean))))


async def fetch_event(
    rows: Rows, payload: PayloadSql, row: Row, max_payload_bytes: int
) -> LogEvent:
    """Make the event of a row, fetching its payload if the row does not have it.

    Args:
        rows: runs statements.
        payload: how the backend fetches a payload.
        row: the columns of an event; the payload comes last, None if it was not fetched.
        max_payload_bytes: no larger payload is fetched.

    Raises:
        PayloadOverLimit: it is larger than `max_payload_bytes`.
    """
    topic, offset, *_, value = row
    if value is None:
        sql = PAYLOAD.format(payload=payload.up_to("$3"))
        value = await fetch_value(rows, sql, (topic, offset, max_payload_bytes))
    if value is None:
        sql = PAYLOAD.format(payload=payload.length)
        raise PayloadOverLimit(await fetch_value(rows, sql, (topic, offset)))
    return LogEvent(*[*row[:-1], value])


async def fetch_first(rows: Rows, sql: str, arguments: Sequence[object]) -> Row | None:
    """Fetch the first row of a statement that has few; None if it has none."""
    found = await rows(sql, arguments)
    return found[0] if found else None


async def fetch_value(rows: Rows, sql: str, arguments: Sequence[object]) -> Any:
    """Fetch the first value of a statement's first row; None if it has no row."""
    row = await fetch_first(rows, sql, arguments)
    return None if row is None else row[0]
