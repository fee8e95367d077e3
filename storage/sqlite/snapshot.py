"""One moment of a SQLite log: a read transaction on a connection that can only read.

`events` is WITHOUT ROWID: the table is its own primary key. For such a table the planner
takes NOT INDEXED for no more than a hint and reads a smaller index where that has every
column, so each statement names what it is to read with INDEXED BY.

`PRAGMA quick_check` finds damaged pages, broken constraints and values of another type in
one pass. What `integrity_check` would do beyond it, looking each row up in each index, is
done by the audit in the order of the index, without a seek for every row of a large log.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from storage.audit.snapshot import (
    KEY,
    PLACE,
    RANGE,
    Blocks,
    Extent,
    LogDamaged,
    Row,
    index_fault,
    missing_triggers,
)
from storage.errors import StorageError, StorageMisconfigured, StorageUnavailable
from storage.migrations import pending
from storage.sqlite.schema import APPLICATION_ID
from storage.sqlite.subscription_snapshot import KEYS as SUBSCRIPTION_KEYS
from storage.sqlite.subscription_snapshot import SqliteSubscriptionTables

_BUSY_TIMEOUT_S = 10.0
_MAX_MESSAGES = 100
_STEPS_A_LOOK = 1_000_000
"""Virtual machine steps between two chances for Ctrl-C, a few a second."""

_EXTENT = """
SELECT count(*), CAST(total(unique_processed) AS INTEGER), coalesce(max(length(topic)), 0),
       coalesce(length(CAST(total(received) AS INTEGER)), 1)
FROM topics"""

_COUNTS = """
SELECT topic, received, unique_processed, duplicate_dropped, conflicts, last_ts_ingest
FROM topics ORDER BY topic"""

_ROWS = """
SELECT topic, "offset", event_id, timestamp, ts_ingest, source, payload
FROM events {indexed}"""

_TABLE = """
SELECT topic, "offset", event_id, ts_ingest FROM events {indexed}
ORDER BY topic, "offset" """

_KEYS = "SELECT topic, event_id FROM events {indexed} ORDER BY topic, event_id"

_RANGES = """
SELECT topic, first_offset, last_offset, ts_ingest FROM appends {indexed}
ORDER BY topic, first_offset"""

_DOUBLED = """
SELECT topic, event_id, count(*) FROM events {indexed}
GROUP BY topic, event_id HAVING count(*) > 1 LIMIT ?"""

_TRIGGERS = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'topics'"

_INDEXED = (("events", PLACE), ("events", KEY), ("appends", RANGE))

_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}
_TYPES = {"t": str, "i": int}

# Bytes that are not UTF-8 are for the rules to find, not for the driver to stumble over.
_text = partial(str, encoding="utf-8", errors="surrogateescape")


class _Index(NamedTuple):
    name: str
    forbids_doubles: bool


class SqliteSnapshot:
    """A `LogSnapshot` of a SQLite file.

    Args:
        path: the database file. Its directory must be writable, as for every reader of a
            file in WAL mode, unless an aggregator has the file open.
    """

    block_rows = 5000
    """Rows in a block, at most."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: sqlite3.Connection | None = None
        self._cursors: list[sqlite3.Cursor] = []
        self._made_companions = False

    def open(self) -> None:
        """See `LogSnapshot.open`."""
        try:
            is_file = S_ISREG(self._path.stat().st_mode)
        except OSError as error:
            raise StorageMisconfigured(
                f"can't read {str(self._path)!r}: {os.strerror(error.errno or 0)}"
            ) from error
        if not is_file:
            raise StorageMisconfigured(f"can't read {str(self._path)!r}: it is not a file")
        self._made_companions = not self._has_companions()
        try:
            application_id, version = self._begin()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        if application_id != APPLICATION_ID:
            raise StorageMisconfigured(f"{str(self._path)!r} is not a database of this program")
        if steps := pending("sqlite", version):
            raise StorageMisconfigured(
                f"{str(self._path)!r} has schema version {version}, older than the version "
                f"{steps[-1].version} of this program: let the aggregator bring it up to date"
            )

    def close(self) -> None:
        """See `LogSnapshot.close`."""
        connection, self._open = self._open, None
        if connection is None:
            return
        # A statement that was not read to its end would keep the file open.
        for cursor in self._cursors:
            cursor.close()
        connection.close()
        if self._made_companions:
            # A reader makes the -wal and -shm files and can't take them away. SQLite itself
            # does, once the last connection that may write is closed; it has nothing to write.
            with suppress(sqlite3.Error):
                writable = self._connect("rw")
                try:
                    writable.execute("PRAGMA query_only = ON")
                    writable.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                finally:
                    writable.close()

    def extent(self) -> Extent:
        """See `LogSnapshot.extent`."""
        with self._translated():
            return Extent(*self._connection.execute(_EXTENT).fetchone())

    def faults(self) -> Iterator[str]:
        """See `LogSnapshot.faults`."""
        try:
            with self._translated():
                for (message,) in self._execute(f"PRAGMA quick_check({_MAX_MESSAGES})"):
                    if message != "ok":
                        yield f"SQLite: {' '.join(message.split())}"
        except LogDamaged as damage:
            yield f"SQLite's own check ended early: {damage}"
        for table, columns in (*_INDEXED, *SUBSCRIPTION_KEYS):
            index = self._index(columns, table)
            forbids_doubles = index.forbids_doubles if index else None
            yield from index_fault(table, columns, forbids_doubles=forbids_doubles)
        with self._translated():
            there = {name for (name,) in self._connection.execute(_TRIGGERS)}
        yield from missing_triggers(there)

    def rows(self) -> Iterator[Row]:
        """See `LogSnapshot.rows`."""
        for block in self._blocks(PLACE, _ROWS, "titiitt", 1):  # a payload may be large
            yield from block

    def counts(self) -> Blocks:
        """See `LogSnapshot.counts`."""
        return self._blocks(None, _COUNTS, "tiiiii")

    def table(self) -> Blocks:
        """See `LogSnapshot.table`."""
        return self._blocks(PLACE, _TABLE, "titi")

    def place_index(self) -> None:
        """None: the table is this index."""

    def key_index(self) -> Blocks:
        """See `LogSnapshot.key_index`."""
        return self._blocks(KEY if self._index(KEY, "events") else PLACE, _KEYS, "tt")

    def ranges(self) -> Blocks:
        """See `LogSnapshot.ranges`."""
        return self._blocks(RANGE, _RANGES, "tiii")

    def range_index(self) -> None:
        """None: the table is this index."""

    @property
    def subscription_tables(self) -> SqliteSubscriptionTables:
        """See `LogSnapshot.subscription_tables`."""
        return SqliteSubscriptionTables(partial(self._blocks, None))

    def doubled_keys(self, max_keys: int) -> list[Row]:
        """See `LogSnapshot.doubled_keys`."""
        with self._translated():
            sql = _DOUBLED.format(indexed=self._indexed(PLACE))
            return self._connection.execute(sql, (max_keys,)).fetchall()

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise StorageUnavailable("the snapshot is not open")
        return self._open

    def _execute(self, sql: str) -> sqlite3.Cursor:
        self._cursors.append(self._connection.execute(sql))
        return self._cursors[-1]

    def _begin(self) -> tuple[int, int]:
        self._open = connection = self._connect("ro")
        connection.text_factory = _text
        connection.set_progress_handler(lambda: 0, _STEPS_A_LOOK)
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("BEGIN")
        # The first read is what fixes the moment.
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return application_id, version

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
        )

    def _has_companions(self) -> bool:
        return any(Path(f"{self._path}{end}").exists() for end in ("-wal", "-shm"))

    def _unusable(self, error: sqlite3.Error) -> StorageError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_CORRUPT:
            return LogDamaged(f"SQLite: {error}")
        if code == sqlite3.SQLITE_NOTADB:
            return StorageMisconfigured(f"can't read {str(self._path)!r}: {error}")
        if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
            return StorageMisconfigured(
                f"can't read {str(self._path)!r}: {error}; SQLite has to read the file and to make "
                "others beside it: run this as the aggregator's user, or on a copy"
            )
        return StorageUnavailable(f"SQLite: {error}")

    def _index(self, columns: tuple[str, ...], table: str) -> _Index | None:
        with self._translated():
            execute = self._connection.execute
            for _, name, unique, _, partial_ in execute(f"PRAGMA index_list({table})").fetchall():
                # The columns behind the key ones lead from an index to the table.
                found = execute(
                    "SELECT name FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno", (name,)
                )
                if tuple(column for (column,) in found) == columns and not partial_:
                    return _Index(name, bool(unique))
        return None

    def _indexed(self, columns: tuple[str, ...]) -> str:
        index = self._index(columns, "appends" if columns is RANGE else "events")
        return f"INDEXED BY {index.name}" if index else "NOT INDEXED"

    def _blocks(
        self, index: tuple[str, ...] | None, sql: str, types: str, size: int | None = None
    ) -> Blocks:
        expected = [{_TYPES[each]} for each in types]
        with self._translated():
            if index is not None:
                sql = sql.format(indexed=self._indexed(index))
            cursor = self._execute(sql)
            while block := cursor.fetchmany(size or self.block_rows):
                if [set(map(type, column)) for column in zip(*block, strict=True)] != expected:
                    raise LogDamaged("SQLite: a column holds a value of another type")
                yield block

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
            if code == sqlite3.SQLITE_INTERRUPT:
                # Ctrl-C came in the middle of a statement; the driver keeps that to itself.
                raise KeyboardInterrupt from error
            if code & 0xFF == sqlite3.SQLITE_CORRUPT or code in _UNREADABLE:
                raise LogDamaged(f"SQLite: {error}") from error
            raise StorageUnavailable(f"SQLite: {error}") from error
