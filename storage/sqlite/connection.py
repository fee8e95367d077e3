"""Connections to the SQLite file: how each is opened, its pragmas, and what guards it."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.errors import StorageMisconfigured
from storage.sqlite import transaction as sqlite_transaction
from storage.sqlite.file_guard import FileGuard
from storage.sqlite.schema import check_owner, migrate

# A random key changes a page of its index, and whole pages are written, twice.
_PAGE_SIZE = "PRAGMA page_size = 4096"

_WAL_MODE = "PRAGMA journal_mode = WAL"

# The automatic checkpoint is for when `storage.sqlite.checkpointer` does not keep up.
# A SQLite that is built to overwrite what is deleted would write all of an index that a migration
# drops; FAST overwrites what costs no further page.
# What a large batch needs beside the database stays in memory: for a temporary file there may
# be no place, and no descriptor.
_WRITER_PRAGMAS = """
PRAGMA synchronous = FULL;
PRAGMA cache_size = -16384;
PRAGMA wal_autocheckpoint = 65536;
PRAGMA journal_size_limit = 134217728;
PRAGMA temp_store = MEMORY;
PRAGMA secure_delete = FAST;
"""

FIRST_READ = "SELECT count(*) FROM sqlite_schema"
"""Opens the -wal file: with the connection, not later, when it may be another."""

_SWITCH_S, _SWITCH_AGAIN_S = 1.0, 0.01

_MAY_NOT = "the aggregator must be allowed to write the file, those beside it and their directory"
_UNUSABLE = {
    sqlite3.SQLITE_NOTADB: "choose another file, or restore it",
    sqlite3.SQLITE_CORRUPT: "restore it; `python -m aggregator verify` says what is damaged",
    sqlite3.SQLITE_READONLY: _MAY_NOT,
    sqlite3.SQLITE_CANTOPEN: _MAY_NOT,
    sqlite3.SQLITE_PERM: _MAY_NOT,
}
"""The driver's errors that waiting will not cure, and what to do."""


class GuardedConnection(sqlite3.Connection):
    """A connection whose transactions begin and end only where the files are in their place.

    Args:
        files: the guard of the files it belongs to; the other arguments are those of
            `sqlite3.Connection`.
    """

    def __init__(self, *arguments: Any, files: FileGuard, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._files = files
        self.commit_s = 0.0
        """How long the last COMMIT took, in seconds."""

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        """See `sqlite3.Connection.execute`; behind BEGIN and COMMIT see `FileGuard.check`."""
        started = time.perf_counter()
        cursor = super().execute(sql, *arguments)
        if sql.startswith("COMMIT"):
            self.commit_s = time.perf_counter() - started
        if sql.startswith(("BEGIN", "COMMIT")):
            self._files.check()
        return cursor

    @contextmanager
    def busy_timeout(self, timeout_ms: int) -> Iterator[None]:
        """Wait for locks no longer than `timeout_ms` within the context."""
        ((usual_ms,),) = self.execute("PRAGMA busy_timeout").fetchall()
        self.execute(f"PRAGMA busy_timeout = {timeout_ms}")
        try:
            yield
        finally:
            self.execute(f"PRAGMA busy_timeout = {usual_ms}")

    def close(self) -> None:
        """Close it, or leave it open for good where closing would do damage."""
        if self._files.may_be_closed():
            super().close()
        else:
            # Needed hardly ever, and slow to import.
            import ctypes  # noqa: PLC0415

            # What is left to the interpreter to clear away would be closed all the same.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))


def open_writer(path: Path, files: FileGuard, busy_timeout_s: float) -> GuardedConnection:
    """Open the connection that writes, in autocommit mode, and bring the file's schema up to date.

    Args:
        path: the database file; made if it is not there.
        files: the guard that the connection belongs to from now on.
        busy_timeout_s: how long to wait for another process's write lock, in seconds.

    Returns:
        A connection that any thread may use, one at a time.

    Raises:
        StorageMisconfigured: the file can't be used, and waiting will not help.
        sqlite3.Error: it can't be used now.
    """
    files.check_before_opening()
    try:
        connection = GuardedConnection(
            path,
            timeout=busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=sqlite_transaction.PREPARED_STATEMENTS,
            files=files,
        )
    except sqlite3.Error as error:
        raise StorageMisconfigured(f"can't open {str(path)!r}: {error}") from error
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def open_beside(path: Path, files: FileGuard, busy_timeout_s: float) -> GuardedConnection:
    """Open one more connection beside the one that writes, in autocommit mode.

    Args:
        path: the database file; its schema is up to date.
        files: the guard that the connection belongs to from now on.
        busy_timeout_s: how long to wait for a lock, in seconds.

    Returns:
        A connection that any thread may use, one at a time.

    Raises:
        sqlite3.Error: the file can't be used now.
    """
    connection = GuardedConnection(
        path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False, files=files
    )
    try:
        connection.execute(FIRST_READ).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the file is ours or empty, set it up, and bring its schema up to date."""
    try:
        check_owner(connection, path)
        connection.execute(_PAGE_SIZE)
        mode = _switch_to_wal(connection)
        if mode != "wal":
            raise StorageMisconfigured(
                f"{str(path)!r} can't be put into WAL mode (it stays in {mode!r} mode): "
                "use a file on a local disk"
            )
        connection.executescript(_WRITER_PRAGMAS)
        migrate(connection)
    except sqlite3.DatabaseError as error:
        raise_if_misconfigured(error, path)
        raise


def raise_if_misconfigured(error: sqlite3.Error, path: Path) -> None:
    """Raise `StorageMisconfigured` if waiting will not cure what the driver reports on opening.

    Args:
        error: what the driver raised.
        path: the database file, for the sentence.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _UNUSABLE:
        raise StorageMisconfigured(
            f"can't use {str(path)!r}: {error}; {_UNUSABLE[code]}"
        ) from error


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """Switch to WAL mode; return the journal mode that the file has then."""
    deadline = time.monotonic() + _SWITCH_S
    while True:
        try:
            (mode,) = connection.execute(_WAL_MODE).fetchone()
        except sqlite3.OperationalError as error:
            # Of two that begin on a new file SQLite lets one fail, and does not wait.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_SWITCH_AGAIN_S)
        else:
            return str(mode)
