"""Opening the SQLite file for writing: is it ours, and is its schema up to date?"""

import sqlite3
import time
from pathlib import Path

from storage.errors import StorageMisconfigured
from storage.migrations import pending
from storage.sqlite import transaction as sqlite_transaction
from storage.sqlite.file_guard import FileGuard, GuardedConnection

APPLICATION_ID = 0x45564C47
"""Marks a file as this program's ("EVLG"), so that no other program's is ever written to."""

# The automatic checkpoint is for when `storage.sqlite.checkpointer` does not keep up.
# What a large batch needs beside the database stays in memory: for a temporary file there may
# be no place, and no descriptor.
_SETTINGS = """
PRAGMA synchronous = FULL;
PRAGMA cache_size = -16384;
PRAGMA wal_autocheckpoint = 65536;
PRAGMA journal_size_limit = 134217728;
PRAGMA temp_store = MEMORY;
"""

_SWITCH_S, _SWITCH_AGAIN_S = 1.0, 0.01

_WHOSE_FILE = (
    "SELECT application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id"
)

_MAY_NOT = "the aggregator must be allowed to write the file, those beside it and their directory"
_UNUSABLE = {
    sqlite3.SQLITE_NOTADB: "choose another file, or restore it",
    sqlite3.SQLITE_CORRUPT: "restore it; `python -m aggregator verify` says what is damaged",
    sqlite3.SQLITE_READONLY: _MAY_NOT,
    sqlite3.SQLITE_CANTOPEN: _MAY_NOT,
    sqlite3.SQLITE_PERM: _MAY_NOT,
}
"""The driver's errors that waiting will not cure, and what to do."""


def open_writer(path: Path, files: FileGuard, busy_timeout_s: float) -> GuardedConnection:
    """The connection that writes to the file, in autocommit mode; it may change its thread.

    Args:
        path: the database file; made if it is not there.
        files: what the connection belongs to from now on.
        busy_timeout_s: how long to wait for another process's write lock, in seconds.

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


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the file is ours or empty, set it up, and bring its schema up to date."""
    try:
        # One statement, one snapshot: another aggregator may be creating the schema right now.
        application_id, tables = connection.execute(_WHOSE_FILE).fetchone()
        if application_id != APPLICATION_ID and (application_id or tables):
            raise StorageMisconfigured(
                f"{str(path)!r} is a SQLite database of another program; choose another file"
            )
        # A random key changes a page of its index, and whole pages are written, twice.
        connection.execute("PRAGMA page_size = 4096")
        mode = _switch_to_wal(connection)
        if mode != "wal":
            raise StorageMisconfigured(
                f"{str(path)!r} can't be put into WAL mode (it stays in {mode!r} mode): "
                "use a file on a local disk"
            )
        connection.executescript(_SETTINGS)
        _migrate(connection)
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _UNUSABLE:
            raise StorageMisconfigured(
                f"can't use {str(path)!r}: {error}; {_UNUSABLE[code]}"
            ) from error
        raise


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """The journal mode it has then."""
    deadline = time.monotonic() + _SWITCH_S
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            # Of two that begin on a new file SQLite lets one fail, and does not wait.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_SWITCH_AGAIN_S)
        else:
            return str(mode)


def _migrate(connection: sqlite3.Connection) -> None:
    # The write lock is what keeps two aggregators that start together apart.
    connection.execute(sqlite_transaction.BEGIN)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in pending("sqlite", version):
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step.version}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        sqlite_transaction.roll_back(connection)
        raise


def _statements(script: str) -> list[str]:
    # executescript() would commit first, and end the lock with it.
    statements: list[str] = []
    text = ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            statements.append(text)
            text = ""
    return statements
