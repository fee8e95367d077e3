"""The schema of the SQLite file: whose file it is, and its migrations."""

import sqlite3
from pathlib import Path

from storage.errors import StorageMisconfigured
from storage.migrations import pending
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
    """Apply the migrations that the file lacks, in one transaction.

    Args:
        connection: in autocommit mode.

    Raises:
        StorageMisconfigured: the file was written by a newer version of this program.
        sqlite3.Error: nothing was applied.
    """
    # The write lock is what keeps two aggregators that start together apart.
    with write_transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in pending("sqlite", version):
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step.version}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


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
