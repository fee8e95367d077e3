"""The statements that read rows of events from Postgres.

The rows of a chunk come as one: texts joined by a control character that is in no name and in no
JSON text, numbers in the server's binary form. The driver would spend more on every value than the
server spends on joining them.
"""

from collections.abc import Sequence
from struct import unpack

from storage.errors import StorageError
from storage.model import EventColumns
from storage.postgres.array_arguments import SEPARATOR, join_integers, join_texts
from storage.postgres.session import POSTGRES_EPOCH_US
from storage.reading.offset_ranges import OffsetRange
from storage.reading.statements import ReadingSql, Row, RowDecoder

# json_send() gives the text as it is stored; a cast to text would print and parse it.
_VALUE = "json_send(payload)"

# A large payload is not fetched from where it is kept apart, and decompressed, to be measured. A
# value is kept with a header of up to 4 bytes.
_SMALL = (
    "pg_column_size(payload) - 4 <= {max_bytes} AND octet_length(json_send(payload)) <= {max_bytes}"
)

_COLUMNS = """
SELECT count(*), string_agg(int8send("offset"), ''), string_agg(event_id, chr(31)),
       string_agg(timestamptz_send(timestamp), ''), string_agg(timestamptz_send(ts_ingest), ''),
       string_agg(source, chr(31)), string_agg(payload, '\\x1f'::bytea)
FROM (SELECT "offset", event_id, timestamp, ts_ingest, source,
             CASE WHEN {small} THEN json_send(payload) ELSE '' END AS payload
      FROM {rows}) AS e"""

# A nested loop whatever the statistics say: each range is a stretch of the primary key.
_RANGES = """
unnest(string_to_array($1, chr(31)), $2::text::bigint[], $3::text::bigint[]) WITH ORDINALITY
AS r (topic, first, last, number)
CROSS JOIN LATERAL (
    SELECT * FROM events WHERE topic = r.topic AND "offset" BETWEEN r.first AND r.last
    ORDER BY "offset" LIMIT r.last - r.first + 1) AS e"""


def _columns(rows: str, max_bytes: str) -> str:
    return _COLUMNS.format(small=_SMALL.format(max_bytes=max_bytes), rows=rows)


READING_SQL = ReadingSql(
    columns=_columns(
        'events WHERE topic = $1 AND "offset" BETWEEN $2 AND $3 ORDER BY "offset"', "$4"
    ),
    columns_of_ranges=_columns(_RANGES, "$4"),
    matches=f"""
SELECT coalesce(string_agg(int8send(r.number), ''), ''),
       coalesce(string_agg(int8send(e."offset"), ''), '')
FROM {_RANGES} WHERE e.source = $4""",
    event=_columns("events WHERE topic = $1 AND event_id = $2", "$3"),
    payload=f"""
SELECT CASE WHEN {_SMALL.format(max_bytes="$3")} THEN {_VALUE} END
FROM events WHERE topic = $1 AND "offset" = $2""",
    payload_bytes=f"""
SELECT octet_length({_VALUE}) FROM events WHERE topic = $1 AND "offset" = $2""",
)


def _range_arguments(ranges: Sequence[OffsetRange]) -> Sequence[object]:
    return (
        join_texts([each.topic for each in ranges]),
        join_integers(each.first for each in ranges),
        join_integers(each.last for each in ranges),
    )


def _decode_columns(row: Row) -> EventColumns:
    count, offsets, event_ids, timestamps, ts_ingest, sources, payloads = row
    if not count:
        return EventColumns([], [], [], [], [], [], [])
    columns = EventColumns(
        topics=[],
        offsets=_integers(offsets),
        event_ids=event_ids.encode().split(SEPARATOR.encode()),
        timestamps_us=_times(timestamps),
        ts_ingest_us=_times(ts_ingest),
        sources=sources.encode().split(SEPARATOR.encode()),
        payloads=payloads.split(SEPARATOR.encode()),
    )
    if any(len(column) != count for column in columns[1:]):
        raise StorageError("Postgres: a text holds the control character U+001F, which none may")
    return columns


def _decode_matches(row: Row) -> tuple[Sequence[int], Sequence[int]]:
    numbers, offsets = row
    return [number - 1 for number in _integers(numbers)], _integers(offsets)


def _integers(data: bytes) -> list[int]:
    return list(unpack(f">{len(data) // 8}q", data))


def _times(data: bytes) -> list[int]:
    return [time_us + POSTGRES_EPOCH_US for time_us in _integers(data)]


ROW_DECODER = RowDecoder(_range_arguments, _decode_columns, _decode_matches)
