"""Search of offsets: where in a topic the pages of a query begin and end.

`ts_ingest` never decreases within a topic, so a time is found by bisection of its offsets, without
an index.
"""

from storage.errors import StorageError
from storage.model import Query
from storage.reading.statements import HEAD, Rows, fetch_value

# The first offset of a topic whose ts_ingest is not below $2; head + 1 if there is none, no
# row at all if an offset on the way is missing. Sub-selects, because a join with the events of
# the topic would let the planner read all of them.
BISECT = """
WITH RECURSIVE bisect (low, high) AS (
    SELECT CAST(1 AS bigint), CAST($3 AS bigint) + 1
    UNION ALL
    SELECT CASE WHEN (SELECT ts_ingest FROM events
                      WHERE topic = $1 AND "offset" = (low + high) / 2) < $2
                THEN (low + high) / 2 + 1 ELSE low END,
           CASE WHEN (SELECT ts_ingest FROM events
                      WHERE topic = $1 AND "offset" = (low + high) / 2) < $2
                THEN high ELSE (low + high) / 2 END
    FROM bisect
    WHERE low < high
      AND (SELECT ts_ingest FROM events
           WHERE topic = $1 AND "offset" = (low + high) / 2) IS NOT NULL
)
SELECT low FROM bisect WHERE low = high"""


async def head_offset(rows: Rows, topic: str) -> int:
    """Read the head offset of a topic; 0 if it has no event."""
    head: int | None = await fetch_value(rows, HEAD, (topic,))
    return head or 0


async def offset_bounds(rows: Rows, query: Query, topic: str, head: int) -> tuple[int, int]:
    """Find the first and the last offset that may be part of the pages of a query."""
    low, high = query.after + 1, head
    if query.since_us is not None and low <= high:
        low = max(low, await first_offset_at(rows, topic, query.since_us, head))
    if query.until_us is not None and low <= high:
        high = min(high, await first_offset_at(rows, topic, query.until_us, head) - 1)
    if query.position is not None:
        seen = query.position.offset
        low, high = (low, min(high, seen - 1)) if query.newest_first else (max(low, seen + 1), high)
    return low, high


async def first_offset_at(rows: Rows, topic: str, time_us: int, head: int) -> int:
    """Find the first offset whose `ts_ingest` is not below a time; head + 1 if there is none.

    Raises:
        StorageError: an offset on the way is missing.
    """
    offset: int | None = await fetch_value(rows, BISECT, (topic, time_us, head))
    if offset is None:
        raise StorageError(f"topic {topic!r} lacks an offset between 1 and its head {head}")
    return offset
