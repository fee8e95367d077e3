"""Copying what was committed from the WAL into the database file, beside the writing.

Left to SQLite, the commit that makes the WAL too long copies all of it while everybody waits.
With random keys that is most of the database's pages, several times a second. Here a connection
of its own copies while commits go on. What came meanwhile is little: that the writer copies
itself, between two transactions, and its next one starts at the beginning of the WAL again.

Copied once a second, a page that each transaction changes is written to the database once, not
once a commit. (sqlite.org/wal.html calls these application-initiated checkpoints.)
"""

import sqlite3
import threading
from collections.abc import Callable

from storage.errors import StorageUnavailable

CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
"""Copies what it can without keeping anybody waiting."""

_INTERVAL_S = 1.0
_FEW_PAGES = 250
_MAX_PASSES = 5


class Checkpointer:
    """A thread that copies while there is something to copy.

    Args:
        connection: on the database, for nothing else; it is closed at the end.
        check: raises `StorageUnavailable` if nothing may be written to the database.
        finish: copies the rest while nobody writes.
        on_failure: callback with what went wrong; it is tried again after the next commit.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        check: Callable[[], None],
        finish: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._connection = connection
        self._check = check
        self._finish = finish
        self._on_failure = on_failure
        self._committed = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sqlite-checkpoints", daemon=True)
        self._thread.start()

    def committed(self) -> None:
        """Wake the thread: there is more to copy. May be called from any thread."""
        if not self._committed.is_set():
            self._committed.set()

    def close(self) -> None:
        """End the thread, behind a copy under way, and close the connection."""
        self._closing.set()
        self._committed.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while self._committed.wait() and not self._closing.wait(_INTERVAL_S):
            self._committed.clear()
            try:
                self.copy()
            except (sqlite3.Error, StorageUnavailable) as error:
                self._on_failure(error)

    def copy(self) -> None:
        """Copy what was committed so far, in passes: all but the last go on beside commits.

        Raises:
            StorageUnavailable: nothing may be written to the database.
            sqlite3.Error: it could not be.
        """
        copied_before = 0
        for _ in range(_MAX_PASSES):
            self._check()
            ((_, pages, copied),) = self._connection.execute(CHECKPOINT).fetchall()
            if self._closing.is_set():
                return  # the last connection copies the rest as it is closed
            if pages - copied_before <= _FEW_PAGES:
                break
            copied_before = copied
        self._finish()
