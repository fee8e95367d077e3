"""The ceiling of Postgres: the rows of the same events, ready in memory, one connection, no HTTP.

One UNIQUE key, no offsets, no counts: `INSERT ... SELECT FROM unnest ... ON CONFLICT DO NOTHING`.
"""

import time
from collections.abc import Sequence

import asyncpg

from benchmarks.workload import Row

_SCHEMA = """
CREATE TABLE bare (
    topic text NOT NULL, event_id text NOT NULL, timestamp bigint NOT NULL,
    source text NOT NULL, payload json NOT NULL, PRIMARY KEY (topic, event_id)
)"""

_INSERT = """
INSERT INTO bare
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::json[])
ON CONFLICT DO NOTHING"""


async def store(dsn: str, batches: Sequence[Sequence[Row]], known: int) -> float:
    """Store rows in one transaction for each batch.

    Args:
        dsn: the DSN of an empty database.
        batches: the rows.
        known: the number of different events, to check what was stored.

    Returns:
        The time it took, in seconds.
    """
    columns = [tuple(map(list, zip(*batch, strict=True))) for batch in batches]
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET synchronous_commit = on")
        await connection.execute(_SCHEMA)
        begun = time.perf_counter()
        for batch in columns:
            await connection.execute(_INSERT, *batch)
        seconds = time.perf_counter() - begun
        stored = await connection.fetchval("SELECT count(*) FROM bare")
    finally:
        await connection.close()
    if stored != known:
        raise AssertionError(f"{stored} rows are stored, {known} should be")
    return seconds
