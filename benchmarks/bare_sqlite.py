"""The ceiling of SQLite: the rows of the same events, ready in memory, one connection, no HTTP.

With what the log needs: each key is looked for first, new rows get the next offset of their
topic, and two UNIQUE constraints hold; durable commits.
"""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.workload import Row

_SCHEMA = """
CREATE TABLE events (
    topic TEXT NOT NULL, "offset" INTEGER NOT NULL, event_id TEXT NOT NULL,
    timestamp INTEGER NOT NULL, source TEXT NOT NULL, payload TEXT NOT NULL,
    PRIMARY KEY (topic, "offset"), UNIQUE (topic, event_id)
) WITHOUT ROWID"""


def store(path: Path, batches: Sequence[Sequence[Row]], known: int) -> float:
    """Store rows in one transaction for each batch.

    Args:
        path: the file, which does not exist yet.
        batches: the rows.
        known: the number of different events, to check what was stored.

    Returns:
        The time it took, in seconds.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        execute = connection.execute
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute(_SCHEMA)
        heads: dict[str, int] = {}
        begun = time.perf_counter()
        for batch in batches:
            execute("BEGIN IMMEDIATE")
            new = {}
            for row in batch:
                key = (row.topic, row.event_id)
                if key in new:
                    continue
                found = execute("SELECT 1 FROM events WHERE topic = ? AND event_id = ?", key)
                if found.fetchone() is None:
                    heads[row.topic] = offset = heads.get(row.topic, 0) + 1
                    new[key] = (row.topic, offset, *row[1:])
            connection.executemany(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)", new.values()
            )
            execute("COMMIT")
        seconds = time.perf_counter() - begun
        (stored,) = execute("SELECT count(*) FROM events").fetchone()
    if stored != known:
        raise AssertionError(f"{stored} rows are stored, {known} should be")
    return seconds
