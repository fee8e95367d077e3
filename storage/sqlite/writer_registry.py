"""The table of writers: one row for each open store, so that others see which versions write.

A rolling upgrade has an older and a newer aggregator on one file. Before a later version changes
the schema under the older one, it can look here. A row whose `seen_at` is old is that of a writer
that was killed, or that hangs.
"""

import sqlite3
import threading
import time
from collections.abc import Callable

from storage.migrations import migrations
from storage.sqlite.transaction import write_transaction

RENEWAL_S = 60.0
"""How often a row is renewed, in seconds."""

_STALE_US = 24 * 3600 * 1_000_000

_DELETE_STALE = "DELETE FROM writers WHERE seen_at < ?"

_INSERT = """
INSERT INTO writers (writer, schema_version, program, opened_at, seen_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (writer) DO UPDATE SET seen_at = excluded.seen_at"""

_DELETE = "DELETE FROM writers WHERE writer = ?"


class WriterRow:
    """The row of one open store.

    Args:
        writer: the id of the store, new with every opening; a writer process that is started
            anew for the same store goes on with its row.
        program: the version of this program.
    """

    def __init__(self, writer: str, program: str) -> None:
        self._writer = writer
        self._schema_version = migrations("sqlite")[-1].version
        self._program = program
        self._opened_at_us = time.time_ns() // 1000

    def insert(self, connection: sqlite3.Connection) -> None:
        """Insert the row, and delete those that nobody has renewed for a day.

        Args:
            connection: in autocommit mode, on a file whose schema is up to date.
        """
        with write_transaction(connection):
            connection.execute(_DELETE_STALE, (time.time_ns() // 1000 - _STALE_US,))
            self._upsert(connection)

    def renew(self, connection: sqlite3.Connection) -> None:
        """Set `seen_at` to now; a row that somebody deleted is inserted again."""
        with write_transaction(connection):
            self._upsert(connection)

    def delete(self, connection: sqlite3.Connection) -> None:
        """Delete the row."""
        with write_transaction(connection):
            connection.execute(_DELETE, (self._writer,))

    def _upsert(self, connection: sqlite3.Connection) -> None:
        row = (
            self._writer,
            self._schema_version,
            self._program,
            self._opened_at_us,
            time.time_ns() // 1000,
        )
        connection.execute(_INSERT, row)


class Heartbeat:
    """A thread that renews a row at intervals.

    Args:
        renew: renews it; does not raise.
        interval_s: the time between two renewals, in seconds.
    """

    def __init__(self, renew: Callable[[], None], interval_s: float) -> None:
        self._renew = renew
        self._interval_s = interval_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sqlite-heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, behind a renewal under way."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(self._interval_s):
            self._renew()
