"""The writing side of a SQLite log, as the writer process runs it.

One connection writes (see `storage.sqlite.transaction`), one checks whether a write could succeed,
one copies what was committed into the database file. Any number of processes may share the file.
`synchronous=FULL` makes a commit survive power loss.

While one of the files is not the one that was opened (see `storage.sqlite.file_guard`), or once
the database is damaged (see `storage.sqlite.damage`), nothing is written.
"""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from storage.errors import OutcomeUnknown, StorageMisconfigured, StorageUnavailable
from storage.model import Appended, Event
from storage.sqlite import subscriptions as sqlite_subscriptions
from storage.sqlite import transaction as sqlite_transaction
from storage.sqlite.checkpointer import CHECKPOINT, Checkpointer
from storage.sqlite.connection import (
    GuardedConnection,
    open_beside,
    open_writer,
    raise_if_misconfigured,
)
from storage.sqlite.damage import DamageRecord
from storage.sqlite.file_guard import FileGuard, FileIdentities
from storage.sqlite.shared_flush import SharedFlush
from storage.sqlite.write_turn import WriteTurn
from storage.sqlite.writer_registry import RENEWAL_S, Heartbeat, WriterRow
from storage.subscriptions.commands import Command
from storage.subscriptions.outcomes import Outcome

_MIN_VERSION = (3, 38, 0)
_NOT_OPEN = "the SQLite store is not open"

_SHORT_WAIT_MS = 100
"""How long the row in `writers` waits for another process's write lock: nothing depends on it."""

Result = TypeVar("Result")


class SqliteWriter:
    """The writing side of a log in one SQLite file; any thread may call it, and waits.

    Args:
        path: the database file; made if it is not there, its directory must be.
        busy_timeout_s: how long to wait for another process's write lock, in seconds.
        damage: the record of what is found wrong with the file.
        renewal_s: how often the row in the table of writers is renewed, in seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_s: float,
        damage: DamageRecord | None = None,
        renewal_s: float = RENEWAL_S,
    ) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._renewal_s = renewal_s
        self.damage = damage or DamageRecord(path)
        self._files = FileGuard(path)
        self._lock = WriteTurn()
        """Held while the connection that writes is used, opened or closed."""
        self._flush = SharedFlush(self._lock, self._write, self._committed)
        self._connection: GuardedConnection | None = None
        self._may_write = False
        """Set from open to close, whether there is such a connection at the moment or not; read
        and changed with the lock held."""
        self._needs_proof = False
        """Set after a failed transaction; only a commit proves that the next may not fail."""
        self._probe_lock = threading.Lock()
        self._probe: sqlite3.Connection | None = None
        self._checkpointer: Checkpointer | None = None
        self._row: WriterRow | None = None
        self._heartbeat: Heartbeat | None = None

    def open(self, writer_id: str, program: str, expected: FileIdentities = ()) -> FileIdentities:
        """Open the file, making it if it is not there, and bring its schema up to date.

        Args:
            writer_id: the id of the store, for the table of writers.
            program: the version of this program, for the same.
            expected: the files that a reader has open already, if there is one.

        Returns:
            The files that were opened, for the guards of readers.

        Raises:
            StorageUnavailable: out of reach now, or not the expected files; try again.
            StorageMisconfigured: waiting will not help.
        """
        self.close()
        if sqlite3.sqlite_version_info < _MIN_VERSION:
            raise StorageMisconfigured(
                f"this Python has SQLite {sqlite3.sqlite_version}; 3.38 or newer is needed"
            )
        self.damage.clear()
        self._needs_proof = False
        self._files = files = FileGuard(self._path)
        try:
            if expected:
                files.expect(expected)
            with self._lock:
                self._connection = open_writer(self._path, files, self._busy_timeout_s)
                if not expected:
                    files.record()
                self._may_write = True
                self._insert_row(self._connection, WriterRow(writer_id, program))
            self._probe = open_beside(self._path, files, 0)
            self._checkpointer = Checkpointer(
                open_beside(self._path, files, self._busy_timeout_s),
                check=self._check,
                finish=self._finish_checkpoint,
                on_failure=self._checkpoint_failed,
            )
            self._heartbeat = Heartbeat(self._renew_row, self._renewal_s)
            files.check()
        except sqlite3.Error as error:
            self.close()
            raise sqlite_transaction.translate(error) from error
        except BaseException:
            self.close()
            raise
        return files.identities

    def append(self, batch: Sequence[Event]) -> Appended:
        """See `EventAppender.append`; commands that wait are done along with it."""
        with self._lock:
            appended = self._flush.append(batch)
            self._committed()
        return appended

    def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """See `SubscriptionStore.apply`."""
        return self._flush.run(lambda writer: sqlite_subscriptions.apply(writer, commands))

    def forget_settles(self, limit: int) -> bool:
        """See `SubscriptionStore.forget_settles`."""
        return self._flush.run(lambda writer: sqlite_subscriptions.forget_settles(writer, limit))

    def ping(self) -> None:
        """Check that an append could succeed: take the write lock and give it back.

        After a transaction that failed it does one that changes nothing: a full disk gives
        the lock as readily as any.

        Raises:
            StorageUnavailable: it could not.
        """
        if self._needs_proof:
            with self._lock:
                self._write(sqlite_transaction.prove)
            return
        try:
            with self._probe_lock:
                if self._probe is None:
                    raise StorageUnavailable(_NOT_OPEN)
                self._check()
                # In one call, for whatever happens: left between the two, it would keep the lock.
                self._probe.executescript(f"{sqlite_transaction.BEGIN}; ROLLBACK")
        except sqlite3.Error as error:
            # Somebody is writing right now: that is what a working database looks like.
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                self.damage.inspect(error)
                raise sqlite_transaction.translate(error) from error

    def close(self) -> None:
        """Close every connection, behind what is under way. Idempotent."""
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None:
            heartbeat.close()
        checkpointer, self._checkpointer = self._checkpointer, None
        if checkpointer is not None:
            checkpointer.close()
        with self._probe_lock:
            probe, self._probe = self._probe, None
            if probe is not None:
                probe.close()
        with self._lock:
            row, self._row = self._row, None
            if row is not None:
                self._write_aside(row.delete)
            self._may_write = False
            self._close_connection()

    def _check(self) -> None:
        self.damage.check()
        try:
            self._files.check()
        except StorageUnavailable:
            # The connection that writes can save what the files still hold.
            self._needs_proof = True
            raise

    def _checkpoint_failed(self, error: Exception) -> None:
        # The log goes on in the WAL; whether it can be written for long, the next ping proves.
        self._needs_proof = True
        self.damage.inspect(error)

    def _finish_checkpoint(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._check()
                self._connection.execute(CHECKPOINT)

    def _renew_row(self) -> None:
        with self._lock:
            if self._row is not None:
                self._write_aside(self._row.renew)

    # What follows is called with the lock held.

    def _committed(self) -> None:
        # Looked up once: it may be gone the next time, for the end waits for this lock.
        checkpointer = self._checkpointer
        if checkpointer is not None:
            checkpointer.committed()

    def _write(self, work: Callable[[GuardedConnection], Result]) -> Result:
        if not self._may_write:
            raise StorageUnavailable(_NOT_OPEN)
        try:
            self._check()
            result = work(self._connection or self._reopen())
        except BaseException as error:
            self._needs_proof |= isinstance(error, (StorageUnavailable, OutcomeUnknown))
            self.damage.inspect(error.__cause__)
            self._save_what_can_be_saved()
            raise
        self._needs_proof = False
        return result

    def _insert_row(self, connection: GuardedConnection, row: WriterRow) -> None:
        try:
            row.insert(connection)
        except sqlite3.Error as error:
            self.damage.inspect(error)
            if self.damage.sentence is None:
                raise_if_misconfigured(error, self._path)
                raise
            # Nothing more is written, and the log is read as far as it can be.
        else:
            self._row = row

    def _write_aside(self, work: Callable[[GuardedConnection], None]) -> None:
        """Write what no store depends on: not at all if it can't be done at once."""
        connection = self._connection
        if connection is None or self.damage.sentence is not None:
            return
        try:
            self._files.check()
            with connection.busy_timeout(_SHORT_WAIT_MS):
                work(connection)
        except sqlite3.Error as error:
            self.damage.inspect(error)
        except StorageUnavailable:
            pass  # one of the files is gone: the next append says so
        if sqlite_transaction.is_spent(connection):
            self._close_connection()

    def _save_what_can_be_saved(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if sqlite_transaction.is_spent(connection):
            # Closing it ends its transaction; the next call opens another.
            self._close_connection()
        elif self._files.wal_is_orphaned():
            # What was acknowledged goes where the next start will find it.
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(FULL)")

    def _reopen(self) -> GuardedConnection:
        try:
            self._connection = open_writer(self._path, self._files, self._busy_timeout_s)
        except StorageMisconfigured as error:
            raise StorageUnavailable(str(error)) from error
        except sqlite3.Error as error:
            raise sqlite_transaction.translate(error) from error
        return self._connection

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
