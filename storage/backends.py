"""Which store, or snapshot, a configuration means; the one place that knows both backends."""

# A backend is imported where it is meant: no one waits for the driver of the other.

from pathlib import Path
from typing import Any

from storage.audit.snapshot import LogSnapshot
from storage.protocols import EventStore


def sqlite_store(path: Path, *, busy_timeout_ms: int, **options: Any) -> EventStore:
    """A store, not opened yet, in the SQLite file `path`; a process of its own writes.

    The options are those of `SqliteStore`.
    """
    from storage.sqlite.store import SqliteStore

    return SqliteStore(path, busy_timeout_ms=busy_timeout_ms, **options)


def postgres_store(
    dsn: str, *, readers: int, command_timeout_ms: int, schema: str | None = None
) -> EventStore:
    """A store, not opened yet, in a schema of the Postgres database at `dsn`."""
    from storage.postgres.store import PostgresStore

    return PostgresStore(
        dsn, readers=readers, command_timeout_s=command_timeout_ms / 1000, schema=schema
    )


def sqlite_snapshot(path: Path) -> LogSnapshot:
    """A snapshot, not opened yet, of the SQLite file `path`."""
    from storage.sqlite.snapshot import SqliteSnapshot

    return SqliteSnapshot(path)


def postgres_snapshot(dsn: str, *, schema: str | None = None) -> LogSnapshot:
    """A snapshot, not opened yet, of the log in a schema of the Postgres database at `dsn`."""
    from storage.postgres.snapshot import PostgresSnapshot

    return PostgresSnapshot(dsn, schema=schema)
