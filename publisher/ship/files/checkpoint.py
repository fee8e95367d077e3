"""The checkpoint: how far contents were shipped, in a SQLite file that a crash leaves whole.

It is written after an acknowledgement, so it is only ever behind what the aggregator has stored.
"""

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from publisher.ship.files.checkpoint_fault import CheckpointRefused
from publisher.ship.files.identity import FileIdentity
from publisher.ship.files.state import ContentState, Place

__all__ = ["Checkpoint", "CheckpointRefused"]

_APPLICATION_ID = 0x5348_4950  # "SHIP", where `file` and others look for it
_VERSION = 2
_KEPT_ENDED = 10_000
_SCHEMA = f"""
CREATE TABLE contents (
    number      INTEGER PRIMARY KEY,
    target      TEXT    NOT NULL,
    path        BLOB    NOT NULL,
    source      TEXT    NOT NULL,
    host        TEXT    NOT NULL,
    device      INTEGER NOT NULL,
    inode       INTEGER NOT NULL,
    birth_ns    INTEGER,
    start       BLOB    NOT NULL,
    name        TEXT    NOT NULL,
    position    INTEGER NOT NULL,
    chain       BLOB    NOT NULL,
    head        BLOB    NOT NULL,
    tail        BLOB    NOT NULL,
    size        INTEGER NOT NULL,
    changed_ns  INTEGER NOT NULL,
    refused     INTEGER NOT NULL,
    options     TEXT    NOT NULL,
    ended       INTEGER NOT NULL
);
CREATE TABLE cursors (
    target      TEXT    NOT NULL,
    journal     TEXT    NOT NULL,
    cursor      TEXT    NOT NULL,
    PRIMARY KEY (target, journal)
);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
"""
_READ_VERSION_1 = """
SELECT target, source, device, inode, salt, position, chain, fingerprint, head, tail
FROM progress ORDER BY rowid
"""
_COLUMNS = (
    "path, source, host, device, inode, birth_ns, start, name, position, chain, head, tail, size, "
    "changed_ns, refused, options, ended"
)
_READ = f"SELECT {_COLUMNS}, number FROM contents WHERE target = ? ORDER BY number"  # noqa: S608
_ADD = f"INSERT INTO contents ({_COLUMNS}, target) VALUES ({'?, ' * 17}?)"  # noqa: S608
_SETS = ", ".join(f"{column} = ?" for column in _COLUMNS.split(", "))
_CHANGE = f"UPDATE contents SET {_SETS} WHERE number = ?"  # noqa: S608


class Checkpoint:
    """An open checkpoint, for one command alone; `Checkpoint.opened` gives one.

    Args:
        database: a connection.
        path: of the file.
        target: where the events are shipped to; what is known for another does not count.
    """

    def __init__(self, database: sqlite3.Connection, path: Path, target: str) -> None:
        self._database = database
        self._path = path
        self._target = target
        self._saving = threading.Lock()

    @classmethod
    @contextmanager
    def opened(cls, path: Path, target: str) -> Iterator["Checkpoint"]:
        """Open a checkpoint, new if there is none, and keep others out until the end.

        Raises:
            CheckpointRefused: it is no checkpoint, in use, or cannot be written.
        """
        try:
            # Saved to by one thread at a time, but not always the same.
            database = sqlite3.connect(
                path, isolation_level=None, timeout=0, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise CheckpointRefused.of(path, error) from error
        try:
            checkpoint = cls(database, path, target)
            checkpoint._prepare()
            yield checkpoint
        finally:
            database.close()

    def contents(self) -> list[ContentState]:
        """Return the contents that are known, the one that was saved first at the front.

        Raises:
            CheckpointRefused: it cannot be read.
        """
        try:
            rows = self._database.execute(_READ, (self._target,)).fetchall()
        except sqlite3.Error as error:
            raise CheckpointRefused.of(self._path, error) from error
        return [_state(row) for row in rows]

    def save(self, states: Iterable[ContentState]) -> None:
        """Keep what is known of contents, durably; new ones get their numbers.

        Raises:
            CheckpointRefused: it cannot be written.
        """
        try:
            with self._saving:
                self._save(states)
        except sqlite3.Error as error:
            raise CheckpointRefused.of(self._path, error) from error

    def _save(self, states: Iterable[ContentState]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        for state in states:
            if state.number:
                self._database.execute(_CHANGE, (*_row(state), state.number))
            else:
                added = self._database.execute(_ADD, (*_row(state), self._target))
                state.number = added.lastrowid or 0
        self._database.execute("COMMIT")

    def cursor(self, journal: str) -> str | None:
        """Return the cursor behind the last entry of a journal that was acknowledged.

        Raises:
            CheckpointRefused: it cannot be read.
        """
        try:
            row = self._database.execute(
                "SELECT cursor FROM cursors WHERE target = ? AND journal = ?",
                (self._target, journal),
            ).fetchone()
        except sqlite3.Error as error:
            raise CheckpointRefused.of(self._path, error) from error
        return None if row is None else str(row[0])

    def save_cursor(self, journal: str, cursor: str) -> None:
        """Keep the cursor of a journal, durably.

        Raises:
            CheckpointRefused: it cannot be written.
        """
        try:
            self._database.execute(
                "INSERT INTO cursors VALUES (?, ?, ?) "
                "ON CONFLICT (target, journal) DO UPDATE SET cursor = excluded.cursor",
                (self._target, journal, cursor),
            )
        except sqlite3.Error as error:
            raise CheckpointRefused.of(self._path, error) from error

    def _prepare(self) -> None:
        try:
            # The lock is taken by the first write, and kept until the end.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("BEGIN IMMEDIATE")
            self._check()
            self._prune()
            self._database.execute("COMMIT")
            # One flush to the disk for each save, in place of three.
            self._database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            raise CheckpointRefused.of(self._path, error) from error

    def _check(self) -> None:
        application, version = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        empty = not self._database.execute("SELECT 1 FROM sqlite_master").fetchone()
        if empty and not application:
            self._execute(_SCHEMA)
        elif application != _APPLICATION_ID:
            raise CheckpointRefused(
                f"{str(self._path)!r} is another program's database, not a checkpoint: name "
                "another file with --checkpoint"
            )
        elif version == 1:
            self._take_over_version_1()
        elif version != _VERSION:
            raise CheckpointRefused(
                f"the checkpoint {str(self._path)!r} has version {version}, this program knows "
                f"{_VERSION}: use the program that wrote it, or name another file"
            )

    def _take_over_version_1(self) -> None:
        """Keep what the checkpoint knows, so that each content goes on with the ids that it has."""
        rows = self._database.execute(_READ_VERSION_1).fetchall()
        self._execute(_SCHEMA)
        for target, source, device, inode, salt, position, chain, name, head, tail in rows:
            start = hashlib.sha256(f"{source}\0{salt}".encode()).digest()
            identity = (_signed(device), _signed(inode), None)
            place = (position, chain, head, tail)
            values = (b"", source, "", *identity, start, name, *place, 0, 0, 0, "", True, target)
            self._database.execute(_ADD, values)
        self._execute("DROP TABLE progress;")

    def _execute(self, statements: str) -> None:
        # `executescript` would commit first.
        for statement in statements.strip().split(";\n"):
            self._database.execute(statement)

    def _prune(self) -> None:
        """Forget what ended long ago: a log that is rotated every hour would fill the disk."""
        self._database.execute(
            "DELETE FROM contents WHERE number IN (SELECT number FROM (SELECT number, row_number() "
            "OVER (PARTITION BY target ORDER BY number DESC) AS age FROM contents WHERE ended) "
            "WHERE age > ?)",
            (_KEPT_ENDED,),
        )


def _row(state: ContentState) -> tuple[object, ...]:
    device, inode, birth_ns = state.identity
    return (
        # A path may have bytes that are no text.
        *(os.fsencode(state.path), state.source, state.host),
        *(_signed(device), _signed(inode), birth_ns, state.start, state.name, *state.place),
        *(state.size, state.changed_ns, state.refused, state.options, state.ended),
    )


def _state(row: tuple[Any, ...]) -> ContentState:
    path, source, host, device, inode, birth_ns, start, name, *rest = row
    position, chain, head, tail, size, changed_ns, refused, options, ended, number = rest
    return ContentState(
        path=os.fsdecode(path),
        source=source,
        host=host,
        identity=FileIdentity(device % 2**64, inode % 2**64, birth_ns),
        start=start,
        name=name,
        place=Place(position, chain, head, tail),
        size=size,
        changed_ns=changed_ns,
        refused=refused,
        options=options,
        ended=bool(ended),
        number=number,
    )


def _signed(number: int) -> int:
    """Return a number of 64 bits as SQLite has them."""
    return number - 2**64 if number >= 2**63 else number
