"""How far files were shipped, kept in a SQLite file so that a crash at any moment leaves it whole.

It is written after an acknowledgement, so it is only ever behind what the aggregator has stored.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from publisher.ship.lineage import Progress

_APPLICATION_ID = 0x5348_4950  # "SHIP", where `file` and others look for it
_VERSION = 1
_KEPT_PER_SOURCE = 10_000
_SCHEMA = f"""
CREATE TABLE progress (
    target      TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    content     TEXT    NOT NULL,
    device      INTEGER NOT NULL,
    inode       INTEGER NOT NULL,
    salt        TEXT    NOT NULL,
    position    INTEGER NOT NULL,
    chain       BLOB    NOT NULL,
    fingerprint TEXT    NOT NULL,
    head        BLOB    NOT NULL,
    tail        BLOB    NOT NULL,
    PRIMARY KEY (target, source, content)
);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
"""
_SAVE = """
INSERT INTO progress VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (target, source, content) DO UPDATE SET
    device = excluded.device, inode = excluded.inode, position = excluded.position,
    chain = excluded.chain, head = excluded.head, tail = excluded.tail
WHERE excluded.position > progress.position
"""


class CheckpointRefused(Exception):
    """The checkpoint cannot be used; the message is one sentence that names it."""


@dataclass(frozen=True, slots=True)
class Known:
    """How far some content of a source was acknowledged.

    content: a name of its own, which no other content has. identity: device and inode of the file
    that held it.
    """

    source: str
    content: str
    identity: tuple[int, int]
    progress: Progress


class Checkpoint:
    """An open checkpoint, for one command alone; `Checkpoint.opened` gives one.

    target: what the lines are shipped to. What is known for another target does not count.
    """

    def __init__(self, database: sqlite3.Connection, path: Path, target: str) -> None:
        self._database = database
        self._path = path
        self._target = target

    @classmethod
    @contextmanager
    def opened(cls, path: Path, target: str) -> Iterator["Checkpoint"]:
        """Open a checkpoint, new if there is none, and keep others out until the end.

        Raises CheckpointRefused when it is no checkpoint, in use, or cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(path, isolation_level=None, timeout=0)
        except (OSError, sqlite3.Error) as error:
            raise _refused(path, error) from error
        try:
            checkpoint = cls(database, path, target)
            checkpoint._prepare()
            yield checkpoint
        finally:
            database.close()

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
            raise _refused(self._path, error) from error

    def _check(self) -> None:
        application, version = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        empty = not self._database.execute("SELECT 1 FROM sqlite_master").fetchone()
        if empty and not application:
            for statement in _SCHEMA.strip().split(";\n"):
                self._database.execute(statement)
        elif application != _APPLICATION_ID:
            raise CheckpointRefused(
                f"{str(self._path)!r} is another program's database, not a checkpoint: name "
                "another file with --checkpoint"
            )
        elif version != _VERSION:
            raise CheckpointRefused(
                f"the checkpoint {str(self._path)!r} has version {version}, this program knows "
                f"{_VERSION}: use the program that wrote it, or name another file"
            )

    def known(self, source: str) -> list[Known]:
        """Give what is known of a source, the content that began first at the front.

        Raises CheckpointRefused when it cannot be read.
        """
        try:
            rows = self._database.execute(
                "SELECT content, device, inode, salt, position, chain, fingerprint, head, tail "
                "FROM progress WHERE target = ? AND source = ? ORDER BY rowid",
                (self._target, source),
            ).fetchall()
        except sqlite3.Error as error:
            raise _refused(self._path, error) from error
        return [
            Known(source, content, (device, inode), Progress(*progress))
            for content, device, inode, *progress in rows
        ]

    def save(self, known: Iterable[Known]) -> None:
        """Keep what was acknowledged, durably. Never takes a position back.

        Raises CheckpointRefused when it cannot be written.
        """
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                _SAVE,
                [
                    (self._target, entry.source, entry.content, *entry.identity, *entry.progress)
                    for entry in known
                ],
            )
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise _refused(self._path, error) from error

    def _prune(self) -> None:
        """Forget what is long gone: a log that is rotated every hour would fill the disk."""
        self._database.execute(
            "DELETE FROM progress WHERE rowid IN (SELECT rowid FROM (SELECT rowid, row_number() "
            "OVER (PARTITION BY target, source ORDER BY rowid DESC) AS age FROM progress) "
            "WHERE age > ?)",
            (_KEPT_PER_SOURCE,),
        )


def _refused(path: Path, error: Exception) -> CheckpointRefused:
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
    elif getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        reason = "another command is using it"
    elif getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
        reason = "it is not a checkpoint; remove it, or name another file with --checkpoint"
    else:
        reason = str(error)
    return CheckpointRefused(f"cannot use the checkpoint {str(path)!r}: {reason}")
