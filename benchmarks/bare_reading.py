"""The ceiling of reading: rows of a bare database, selected in order and built into the same JSON.

    python -m benchmarks.bare_reading sqlite|postgres LOCATION EVENTS build|parse

One process, one connection, no HTTP: `build` makes the lines that the service would answer with,
`parse` parses them too.
"""

import json
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from benchmarks.client_result import report
from benchmarks.reading_client import check_offsets
from benchmarks.workload import Row

TOPIC = "topic-0"

_ROWS_AT_ONCE = 5_000
_FLUSH = 700
"""The number of events with the same time of their ingest, as in a flush of the service."""

_SQLITE_SCHEMA = """
CREATE TABLE bare (
    topic TEXT NOT NULL, "offset" INTEGER NOT NULL, event_id TEXT NOT NULL,
    timestamp INTEGER NOT NULL, source TEXT NOT NULL, payload TEXT NOT NULL,
    ts_ingest INTEGER NOT NULL, PRIMARY KEY (topic, "offset")
) WITHOUT ROWID"""

_POSTGRES_SCHEMA = """
CREATE TABLE bare (
    topic text NOT NULL, "offset" bigint NOT NULL, event_id text NOT NULL,
    timestamp bigint NOT NULL, source text NOT NULL, payload json NOT NULL,
    ts_ingest bigint NOT NULL, PRIMARY KEY (topic, "offset")
)"""

_SELECT = """
SELECT topic, event_id, timestamp, source, payload, "offset", ts_ingest FROM bare
WHERE topic = {topic} ORDER BY "offset\""""

Stored = tuple[str, int, str, int, str, str, int]


def stored(rows: Sequence[Row]) -> list[Stored]:
    """Return the events of one topic as rows of the bare table."""
    return [
        (TOPIC, offset, row.event_id, row.timestamp_us, row.source, row.payload, ingested)
        for first in range(0, len(rows), _FLUSH)
        for ingested in (rows[first].timestamp_us,)
        for offset, row in enumerate(rows[first : first + _FLUSH], first + 1)
    ]


def fill_sqlite(path: Path, rows: Iterable[Stored]) -> None:
    """Store rows in a new file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(_SQLITE_SCHEMA)
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO bare VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")


async def fill_postgres(dsn: str, rows: Iterable[Stored]) -> None:
    """Store rows in an empty database."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_POSTGRES_SCHEMA)
        await connection.copy_records_to_table("bare", records=rows)
        await connection.execute("VACUUM ANALYZE bare")
    finally:
        await connection.close()


@lru_cache(1_000)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


def _time(microseconds: int) -> str:
    second, fraction = divmod(microseconds, 1_000_000)
    return f"{_second(second)}{fraction:06d}Z"


def build(rows: Iterable[Iterable[Any]]) -> bytes:
    """Build the line of each row, in the form of a page's events."""
    lines, ingest_us, ingested = [], -1, ""
    for topic, event_id, timestamp, source, payload, offset, ts_ingest in rows:
        if ts_ingest != ingest_us:
            ingest_us, ingested = ts_ingest, _time(ts_ingest)
        second, fraction = divmod(timestamp, 1_000_000)
        # Nothing of this workload needs to be escaped, which favours the ceiling.
        lines.append(
            f'{{"topic":"{topic}","event_id":"{event_id}",'
            f'"timestamp":"{_second(second)}{fraction:06d}Z","source":"{source}",'
            f'"payload":{payload},"offset":{offset},"ts_ingest":"{ingested}"}}\n'
        )
    return "".join(lines).encode()


def sqlite_rows(path: str) -> Iterator[Sequence[Iterable[Any]]]:
    """Select the rows in order, 5,000 at a time."""
    with closing(sqlite3.connect(path)) as connection:
        cursor = connection.execute(_SELECT.format(topic="?"), (TOPIC,))
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            yield rows


async def _postgres_rows(dsn: str) -> AsyncIterator[Sequence[Iterable[Any]]]:
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            cursor = await connection.cursor(_SELECT.format(topic="$1"), TOPIC)
            while rows := await cursor.fetch(_ROWS_AT_ONCE):
                yield rows
    finally:
        await connection.close()


class _Reader:
    """Builds lines of rows, parses them if that is measured, and counts them."""

    def __init__(self, *, parse: bool) -> None:
        self.read = 0
        self._parse = parse

    def add(self, rows: Sequence[Iterable[Any]]) -> None:
        text = build(rows)
        if self._parse:
            events = json.loads(b"[%b]" % text[:-1].replace(b"\n", b","))
            self.read = check_offsets(events, self.read)
        else:
            self.read += len(rows)


async def main(engine: str, location: str, expected: int, how: str) -> None:
    """Read all rows in order and report the time it took."""
    reader = _Reader(parse=how == "parse")
    cpu_s, begun = time.process_time(), time.perf_counter()
    if engine == "sqlite":
        for rows in sqlite_rows(location):
            reader.add(rows)
    else:
        async for rows in _postgres_rows(location):
            reader.add(rows)
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
    if reader.read != expected:
        raise SystemExit(f"{reader.read} rows could be read, {expected} are stored")
    report(seconds=seconds, cpu_s=cpu_s)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
