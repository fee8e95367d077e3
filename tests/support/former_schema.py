"""A log of the schema version before `appends`, as an older version left it."""

from collections.abc import Sequence
from typing import NamedTuple

from storage.migrations import AFTER_BACKFILL, migrations
from support.backends import Database
from support.observer import Observer

_SERIES = {
    "sqlite": "WITH RECURSIVE s (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < {}) "
    "SELECT n FROM s",
    "postgres": "SELECT generate_series(1, {}) AS n",
}
_TIME = {"sqlite": "{}", "postgres": "timestamptz 'epoch' + {} * interval '1 microsecond'"}


class Range(NamedTuple):
    """A row of `appends`."""

    ts_ingest_us: int
    topic: str
    first_offset: int
    last_offset: int


async def make_former(database: Database) -> None:
    """Make an empty log of the version before."""
    steps = migrations(database.backend)[: AFTER_BACKFILL[database.backend] - 2]
    async with Observer.on(database) as observer:
        if database.backend == "sqlite":
            observer.connection.executescript("".join(step.sql for step in steps))
            observer.connection.executescript(
                f"PRAGMA user_version = {len(steps)}; PRAGMA application_id = {0x45564C47}"
            )
            return
        await observer.connection.execute(
            "CREATE TABLE aggregator_schema (version integer NOT NULL PRIMARY KEY, "
            "applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for step in steps:
            await observer.connection.execute(step.sql)
            await observer.fetch(
                "INSERT INTO aggregator_schema (version) VALUES ($1)", step.version
            )


async def store_formerly(database: Database, appends: Sequence[Range]) -> None:
    """Store what these appends stored, each in the topic behind what is there."""
    time = _TIME[database.backend]
    async with Observer.on(database) as observer:
        for ts_ingest_us, topic, first, last in appends:
            ingest = time.format(ts_ingest_us)
            series = _SERIES[database.backend].format(last - first + 1)
            await observer.fetch(
                'INSERT INTO events (topic, "offset", event_id, timestamp, ts_ingest, source, '
                f"payload) SELECT '{topic}', n + {first - 1}, 'e-' || (n + {first - 1}), "
                f"{time.format(0)}, {ingest}, 's', '{{}}' FROM ({series}) AS s"
            )
            count = last - first + 1
            await observer.fetch(
                "INSERT INTO topics (topic, received, unique_processed, duplicate_dropped, "
                f"conflicts, last_ts_ingest) VALUES ('{topic}', {count}, {count}, 0, 0, {ingest}) "
                "ON CONFLICT (topic) DO UPDATE SET received = topics.received + excluded.received, "
                "unique_processed = topics.unique_processed + excluded.unique_processed, "
                "last_ts_ingest = excluded.last_ts_ingest"
            )


async def ranges(database: Database) -> list[Range]:
    """Read all rows of `appends`, those of one time and topic that are neighbours as one."""
    time = "ts_ingest"
    if database.backend == "postgres":
        time = "(extract(epoch FROM ts_ingest) * 1000000)::bigint"
    async with Observer.on(database) as observer:
        rows = await observer.fetch(
            f"SELECT {time}, topic, first_offset, last_offset FROM appends "
            "ORDER BY ts_ingest, topic, first_offset"
        )
    merged: list[Range] = []
    for row in map(Range._make, rows):
        last = merged[-1] if merged else None
        if last and last[:2] == row[:2] and last.last_offset + 1 == row.first_offset:
            merged[-1] = last._replace(last_offset=row.last_offset)
        else:
            merged.append(row)
    return merged
