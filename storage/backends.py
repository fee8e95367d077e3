"""The table of backends: what each is called, and how its stores and snapshots are made.

To add a backend is to add an entry here, and its folder. Nothing else names the backends one by
one: the settings, `verify`, tracing and the composition root all look them up.
"""

# What makes a store or a snapshot imports it then: no one waits for the driver of another backend.

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from storage.audit.snapshot import LogSnapshot
from storage.protocols import EventStore

_log = logging.getLogger(__name__)


class SecretText(Protocol):
    """A text that does not show when it is printed."""

    def get_secret_value(self) -> str:
        """Return the text."""
        ...


class LogLocation(Protocol):
    """Where a log is; a backend looks at what applies to it."""

    @property
    def database(self) -> Path:
        """The file, for a backend that keeps its log in one."""
        ...

    @property
    def dsn(self) -> SecretText | None:
        """The connection URI, for a backend that is a server."""
        ...

    @property
    def schema(self) -> str | None:
        """The schema on that server; None: the first of the role's `search_path`."""
        ...


class StoreSettings(LogLocation, Protocol):
    """Where a log is, and the settings of stores; a backend looks at those that bear its name."""

    @property
    def sqlite_busy_timeout_ms(self) -> int:
        """See `sqlite_store`."""
        ...

    @property
    def sqlite_command_timeout_ms(self) -> int:
        """See `sqlite_store`."""
        ...

    @property
    def postgres_readers(self) -> int:
        """See `postgres_store`."""
        ...

    @property
    def postgres_command_timeout_ms(self) -> int:
        """See `postgres_store`."""
        ...


OnProcessOutput = Callable[[str], object]
"""Called with what a store's own process writes to its standard error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """An entry of the table."""

    name: str
    """The name users know it by, in the settings and in `/stats`."""
    label: str
    """Its name in a sentence."""
    otel_name: str
    """What OpenTelemetry calls it: the attribute `db.system.name`."""
    is_file: bool
    """Whether the log is a file of this machine, `database`. Otherwise `dsn` says where it is."""
    audit_passes: int
    """How often an audit reads each row: for its values, its order, and once in each index of the
    table."""
    store: Callable[[StoreSettings, OnProcessOutput], EventStore]
    """Makes a store, not opened yet."""
    snapshot: Callable[[LogLocation], LogSnapshot]
    """Makes a snapshot, not opened yet."""

    def place(self, at: LogLocation) -> str:
        """Return where events are stored, in words that hold no password."""
        return str(at.database) if self.is_file else self.label


def sqlite_store(
    path: Path,
    *,
    busy_timeout_ms: int,
    command_timeout_ms: int = 30_000,
    on_process_output: OnProcessOutput = _log.error,
) -> EventStore:
    """Make a store, not opened yet, in a SQLite file; a process of its own writes.

    Args:
        path: the file.
        busy_timeout_ms: how long to wait for another process's write lock, in milliseconds.
        command_timeout_ms: how long SQLite and the disk may take besides, in milliseconds.
        on_process_output: called with what the process writes to its standard error.
    """
    from storage.sqlite.store import SqliteStore

    return SqliteStore(
        path,
        busy_timeout_ms=busy_timeout_ms,
        command_timeout_ms=command_timeout_ms,
        on_process_output=on_process_output,
    )


def postgres_store(
    dsn: str, *, readers: int, command_timeout_ms: int, schema: str | None = None
) -> EventStore:
    """Make a store, not opened yet, in a schema of a Postgres database.

    Args:
        dsn: the connection URI of the database.
        readers: the maximum number of connections that read.
        command_timeout_ms: how long a statement may take, in milliseconds.
        schema: the schema; None: the first of the role's `search_path`.
    """
    from storage.postgres.store import PostgresStore

    return PostgresStore(
        dsn, readers=readers, command_timeout_s=command_timeout_ms / 1000, schema=schema
    )


def sqlite_snapshot(path: Path) -> LogSnapshot:
    """Make a snapshot, not opened yet, of the SQLite file `path`."""
    from storage.sqlite.snapshot import SqliteSnapshot

    return SqliteSnapshot(path)


def postgres_snapshot(dsn: str, *, schema: str | None = None) -> LogSnapshot:
    """Make a snapshot, not opened yet, of the log in a schema of a Postgres database."""
    from storage.postgres.snapshot import PostgresSnapshot

    return PostgresSnapshot(dsn, schema=schema)


def _configured_sqlite_store(
    settings: StoreSettings, on_process_output: OnProcessOutput
) -> EventStore:
    return sqlite_store(
        settings.database,
        busy_timeout_ms=settings.sqlite_busy_timeout_ms,
        command_timeout_ms=settings.sqlite_command_timeout_ms,
        on_process_output=on_process_output,
    )


def _configured_postgres_store(
    settings: StoreSettings, _on_process_output: OnProcessOutput
) -> EventStore:
    return postgres_store(
        _dsn(settings),
        readers=settings.postgres_readers,
        command_timeout_ms=settings.postgres_command_timeout_ms,
        schema=settings.schema,
    )


def _dsn(at: LogLocation) -> str:
    if at.dsn is None:
        raise ValueError("a log on a server needs a DSN")
    return at.dsn.get_secret_value()


BACKENDS: Mapping[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend(
            name="sqlite",
            label="SQLite",
            otel_name="sqlite",
            is_file=True,
            audit_passes=3,
            store=_configured_sqlite_store,
            snapshot=lambda at: sqlite_snapshot(at.database),
        ),
        Backend(
            name="postgres",
            label="Postgres",
            otel_name="postgresql",
            is_file=False,
            audit_passes=4,
            store=_configured_postgres_store,
            snapshot=lambda at: postgres_snapshot(_dsn(at), schema=at.schema),
        ),
    )
}
"""Every backend by its name."""
