"""Rows of the log fetched in chunks that are bounded in bytes before they are fetched.

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
"""Runs a statement with its arguments and gives all of its rows."""

PAGE_BYTES = 8 * 2**20
"""A page ends behind the event that takes its payloads to this many bytes."""

CHUNK_BYTES = 2 * 2**20
"""Payloads of one chunk at most, unless it is one row."""

CHUNK_ROWS = 1024
_FIRST_ROWS = 32
"""Nothing is known of their sizes: to measure a payload, SQLite has to read it."""
_SPREAD = 4
"""A row is fetched with its chunk if it is at most so many times as large as those before."""

_MOST_ALONE = 8
"""After so many rows fetched alone the next chunk is made for their size."""

_COPIES = 3
"""A payload under way is held by the driver, in pieces and in one, and by the row."""

_ROW_BYTES = 3072
"""The most that a row takes beside its payload: names of 256 characters of four bytes each."""

PAYLOAD = 'SELECT {payload} FROM events WHERE topic = $1 AND "offset" = $2'


def page_memory_bytes(events: int, max_payload_bytes: int) -> int:
    """The most memory that reading a page takes, with its answer not yet made."""
    chunk_bytes = CHUNK_BYTES + _COPIES * max_payload_bytes
    return PAGE_BYTES + chunk_bytes + events * _ROW_BYTES


def event_memory_bytes(max_payload_bytes: int) -> int:
    """The most memory that reading one event takes, with its answer not yet made."""
    return _COPIES * max_payload_bytes + _ROW_BYTES


class PayloadSql(NamedTuple):
    """How a backend fetches a payload, as SQL expressions.

    Args:
        value: its bytes.
        length: how many they are.
        small: whether they are at most `{most}`.
    """

    value: str
    length: str
    small: str

    def up_to(self, most: str) -> str:
        """The payload, or NULL if it has more bytes than `most`, an expression, says."""
        return f"CASE WHEN {self.small.format(most=most)} THEN {self.value} END"


Behind: TypeAlias = Callable[[LogEvent | None], Sequence[object]]


class Span(NamedTuple):
    """The rows that a page is filled from.

    Args:
        sql: gives them in order. Its parameters are bounds, LIMIT, the most bytes of a payload that
            is fetched, filters.
        behind: the bounds of the rows behind an event; those of all rows for None.
        filters: the last arguments.
        payload: how the backend fetches a payload.
    """

    sql: str
    behind: Behind
    filters: Sequence[object]
    payload: PayloadSql


async def fill(rows: Rows, span: Span, query: Query) -> tuple[list[LogEvent], bool]:
    """Fetch rows until the page is full; tells whether another row follows.

    Raises:
        PayloadOverLimit: the payload of the first row is larger than the query allows.
    """
    events: list[LogEvent] = []
    size = 0
    chunk_rows = _FIRST_ROWS
    while True:
        full = len(events) == query.limit or size >= PAGE_BYTES
        # One row more than the page takes, to know whether there is one.
        wanted = 1 if full else min(chunk_rows, query.limit + 1 - len(events))
        most = 0 if full else min(CHUNK_BYTES // wanted, query.max_payload_bytes)
        bounds = span.behind(events[-1] if events else None)
        found = await rows(span.sql, (*bounds, wanted, most, *span.filters))
        begun, begun_size, alone = len(events), size, 0
        for row in found:
            if len(events) == query.limit or size >= PAGE_BYTES:
                return events, True
            if row[-1] is not None:
                event = LogEvent(*row)
            elif alone == _MOST_ALONE:
                break
            else:
                alone += 1
                try:
                    event = await whole(rows, span.payload, row, query.max_payload_bytes)
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
        chunk_rows = max(1, min(CHUNK_ROWS, int(CHUNK_BYTES / (_SPREAD * mean))))


async def whole(rows: Rows, payload: PayloadSql, row: Row, max_payload_bytes: int) -> LogEvent:
    """The event of a row, whose payload is fetched if it is not there.

    Raises:
        PayloadOverLimit: it is larger than `max_payload_bytes`.
    """
    topic, offset, *_, value = row
    if value is None:
        sql = PAYLOAD.format(payload=payload.up_to("$3"))
        value = await single(rows, sql, (topic, offset, max_payload_bytes))
    if value is None:
        sql = PAYLOAD.format(payload=payload.length)
        raise PayloadOverLimit(await single(rows, sql, (topic, offset)))
    return LogEvent(*[*row[:-1], value])


async def first(rows: Rows, sql: str, arguments: Sequence[object]) -> Row | None:
    """The first row of a statement that gives few."""
    found = await rows(sql, arguments)
    return found[0] if found else None


async def single(rows: Rows, sql: str, arguments: Sequence[object]) -> Any:
    """The first value of its first row, or None."""
    row = await first(rows, sql, arguments)
    return None if row is None else row[0]
