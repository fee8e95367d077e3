"""The statements that read rows of events from SQLite.

The rows of a chunk come as one: texts joined by a control character that is in no name and in no
JSON text, numbers in decimal. SQLite does all of that in one step, without the interpreter lock.
"""

from collections.abc import Sequence

import msgspec

from storage.errors import StorageError
from storage.model import EventColumns
from storage.reading.offset_ranges import OffsetRange
from storage.reading.statements import ReadingSql, Row, RowDecoder

_SEPARATOR = b"\x1f"

# An aggregate takes the rows as the subquery orders them, as every version of SQLite does. A
# payload's length is that of its bytes; octet_length() would not even read a long one, and is
# newer than SQLite 3.40.
_COLUMNS = """
SELECT count(*), group_concat("offset"), group_concat(event_id, '\x1f'),
       group_concat(timestamp), group_concat(ts_ingest),
       group_concat(source, '\x1f'), CAST(group_concat(payload, '\x1f') AS BLOB)
FROM (SELECT e."offset", event_id, timestamp, e.ts_ingest, source,
             CASE WHEN length(CAST(payload AS BLOB)) <= ${max_bytes}
                  THEN payload ELSE '' END AS payload
      FROM {rows})"""

# Driven from the ranges, in their order: each is a stretch of the primary key.
_RANGES = """
json_each($1) AS r CROSS JOIN events AS e
ON e.topic = r.value ->> '$[0]'
AND e."offset" BETWEEN r.value ->> '$[1]' AND r.value ->> '$[2]'"""

READING_SQL = ReadingSql(
    columns=_COLUMNS.format(
        max_bytes=4,
        rows='events AS e WHERE topic = $1 AND "offset" BETWEEN $2 AND $3 ORDER BY "offset"',
    ),
    columns_of_ranges=_COLUMNS.format(max_bytes=2, rows=_RANGES),
    matches=f"""
SELECT json_group_array(r.key), json_group_array(e."offset")
FROM {_RANGES} WHERE e.source = $2""",
    event=_COLUMNS.format(max_bytes=3, rows="events AS e WHERE topic = $1 AND event_id = $2"),
    payload="""
SELECT CASE WHEN length(CAST(payload AS BLOB)) <= $3 THEN CAST(payload AS BLOB) END
FROM events WHERE topic = $1 AND "offset" = $2""",
    payload_bytes="""
SELECT length(CAST(payload AS BLOB)) FROM events WHERE topic = $1 AND "offset" = $2""",
)

_encode = msgspec.json.encode
_decode_integers = msgspec.json.Decoder(list[int]).decode


def _range_arguments(ranges: Sequence[OffsetRange]) -> Sequence[object]:
    return (_encode([each[:3] for each in ranges]).decode(),)


def _decode_columns(row: Row) -> EventColumns:
    count, offsets, event_ids, timestamps, ts_ingest, sources, payloads = row
    if not count:
        return EventColumns([], [], [], [], [], [], [])
    columns = EventColumns(
        topics=[],
        offsets=_integers(offsets),
        event_ids=event_ids.encode().split(_SEPARATOR),
        timestamps_us=_integers(timestamps),
        ts_ingest_us=_integers(ts_ingest),
        sources=sources.encode().split(_SEPARATOR),
        payloads=payloads.split(_SEPARATOR),
    )
    if any(len(column) != count for column in columns[1:]):
        raise StorageError("SQLite: a text holds the control character U+001F, which none may")
    return columns


def _integers(text: str) -> list[int]:
    return _decode_integers(f"[{text}]")


def _decode_matches(row: Row) -> tuple[Sequence[int], Sequence[int]]:
    numbers, offsets = map(_decode_integers, row)
    return numbers, offsets


ROW_DECODER = RowDecoder(_range_arguments, _decode_columns, _decode_matches)
