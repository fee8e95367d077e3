"""Which store a configuration means; the one place that knows both backends."""

from pathlib import Path

from storage.interface import EventStore
from storage.postgres import PostgresStore
from storage.sqlite import SqliteStore


def sqlite_store(path: Path, *, busy_timeout_ms: int) -> EventStore:
    """A store, not opened yet, in the SQLite file `path`."""
    return SqliteStore(path, busy_timeout_s=busy_timeout_ms / 1000)


def postgres_store(dsn: str, *, readers: int, command_timeout_ms: int) -> EventStore:
    """A store, not opened yet, in the Postgres database at `dsn`."""
    return PostgresStore(dsn, readers=readers, command_timeout_s=command_timeout_ms / 1000)
