"""The schema of the SQLite file: whose file it is, and its migrations."""

import sqlite3
import time
from pathlib import Path

from storage.errors import StorageMisconfigured
from storage.migrations import AFTER_BACKFILL, BACKFILL_S, pending
from storage.sqlite.backfill import backfill, is_done
from storage.sqlite.transaction import write_transaction

APPLICATION_ID = 0x45564C47
"""Marks a file as this program's ("EVLG"), so that no other program's is ever written to."""

_WHOSE_FILE = (
    "SELECT application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id"
)


def check_owner(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the file is this program's, or empty.

    Args:
        connection: a connection to the file.
        path: its name, for the error.

    Raises:
        StorageMisconfigured: it is another program's.
    """
    # One statement, one snapshot: another aggregator may be creating the schema right now.
    application_id, tables = connection.execute(_WHOSE_FILE).fetchone()
    if application_id != APPLICATION_ID and (application_id or tables):
        raise StorageMisconfigured(
            f"{str(path)!r} is a SQLite database of another program; choose another file"
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that the file lacks: in one transaction, unless a large log needs more.

    Args:
        connection: in autocommit mode.

    Raises:
        StorageMisconfigured: the file was written by a newer version of this program.
        StorageUnavailable: not all of it is done yet; the next call goes on.
        sqlite3.Error: what the last transaction did not do is not done.
    """
    deadline_s = time.monotonic() + BACKFILL_S
    while not _apply_steps(connection):
        backfill(connection, deadline_s)


def _apply_steps(connection: sqlite3.Connection) -> bool:
    """Apply the steps, up to the one that a backfill has to come before; return if that is all."""
    # The write lock is what keeps two aggregators that start together apart.
    with write_transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in pending("sqlite", version):
            if step.version == AFTER_BACKFILL["sqlite"] and not is_done(connection):
                return False
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step.version}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    return True


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
