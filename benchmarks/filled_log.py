"""A log of one topic with millions of events, written into the tables of a database by SQL."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import asyncpg

from benchmarks.databases import Database, MakeDatabase
from benchmarks.serving import aggregator
from benchmarks.stored_topic import TOPIC

_APPEND = 1_000
"""Events that are stored at the same time."""

_COMMIT = 200_000
"""Events of a transaction of SQLite."""

_STEP = 1_000_000
"""Events of a transaction of Postgres."""

_TEXT = "x" * 122
"""The payload of each event, but for a number."""

_SQLITE_EVENTS = """
INSERT INTO events (topic, "offset", event_id, timestamp, ts_ingest, source, payload)
WITH RECURSIVE numbers (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)
SELECT :topic, n, printf('00000000-0000-7000-8000-%012d', n), :at, :at, 'benchmark',
       printf('{"text":"%s","number":%d}', :text, 1000000 + n)
FROM numbers"""

_SQLITE_TOPIC = """
INSERT INTO topics (topic, received, unique_processed, duplicate_dropped, conflicts, last_ts_ingest)
VALUES (:topic, :last, :last, 0, 0, :at)
ON CONFLICT (topic) DO UPDATE SET
    received = :last, unique_processed = :last, last_ts_ingest = :at"""

_POSTGRES_EVENTS = """
INSERT INTO events (topic, "offset", event_id, timestamp, ts_ingest, source, payload)
SELECT $1, n, '00000000-0000-7000-8000-' || lpad(n::text, 12, '0'), stored.at, stored.at,
       'benchmark', format('{"text":"%s","number":%s}', $4::text, 1000000 + n)::json
FROM generate_series($5::bigint, $6) AS n,
     LATERAL (SELECT to_timestamp($2) + (n - 1) / $3::bigint * interval '1 ms') AS stored (at)"""

_POSTGRES_APPENDS = """
INSERT INTO appends (ts_ingest, topic, first_offset, last_offset)
SELECT to_timestamp($2) + (n - 1) / $3::bigint * interval '1 ms', $1, n, least(n + $3 - 1, $4)
FROM generate_series(1, $4::bigint, $3) AS n"""

# Who has written its ranges itself says so by recorded_head.
_POSTGRES_TOPIC = """
INSERT INTO topics (topic, received, unique_processed, last_ts_ingest, recorded_head)
VALUES ($1, $4::bigint, $4, to_timestamp($2) + ($4 - 1) / $3::bigint * interval '1 ms', $4)"""


@asynccontextmanager
async def filled(make: MakeDatabase, events: int) -> AsyncIterator[Database]:
    """Make a database that holds so many events of one topic.

    They are as those of the standard workload, with ids that grow, none sent twice.

    Args:
        make: makes an empty database.
        events: the number of events.
    """
    async with make() as database:
        # Its start makes the tables.
        with aggregator(database.arguments):
            pass
        if database.location.startswith("postgres"):
            await _fill_postgres(database.location, events)
        else:
            await asyncio.to_thread(_fill_sqlite, Path(database.location), events)
        yield database


def _yesterday_s() -> int:
    return int(time.time()) - 86_400


def _fill_sqlite(path: Path, events: int) -> None:
    begun_us = _yesterday_s() * 1_000_000
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for begin in range(1, events + 1, _COMMIT):
            connection.execute("BEGIN IMMEDIATE")
            for first in range(begin, min(begin + _COMMIT, events + 1), _APPEND):
                last = min(first + _APPEND - 1, events)
                append = {
                    "topic": TOPIC,
                    "first": first,
                    "last": last,
                    "at": begun_us + first // _APPEND * 1_000,
                    "text": _TEXT,
                }
                connection.execute(_SQLITE_EVENTS, append)
                # Triggers record the range.
                connection.execute(_SQLITE_TOPIC, append)
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def _fill_postgres(dsn: str, events: int) -> None:
    common = (TOPIC, float(_yesterday_s()), _APPEND)
    connection = await asyncpg.connect(dsn)
    try:
        for first in range(1, events + 1, _STEP):
            last = min(first + _STEP - 1, events)
            await connection.execute(_POSTGRES_EVENTS, *common, _TEXT, first, last)
        await connection.execute(_POSTGRES_APPENDS, *common, events)
        await connection.execute(_POSTGRES_TOPIC, *common, events)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
