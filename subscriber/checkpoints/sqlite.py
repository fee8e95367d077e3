"""What a checkpoint does in SQLite, whatever the driver."""

import sqlite3
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from subscriber.checkpoints.link import SAVEPOINT_NAME, Link, transaction_ended
from subscriber.checkpoints.segments import NOTHING_DONE, Change, Segment
from subscriber.checkpoints.table import CHECKPOINT_TABLE, table_missing

SAVEPOINT = f"SAVEPOINT {SAVEPOINT_NAME}"
"""Outside of a transaction it opens one, which RELEASE commits.

Unlike a BEGIN it tells at the end whether the transaction is still the same one.
"""
RELEASE = f"RELEASE {SAVEPOINT_NAME}"
ROLLBACK_TO_SAVEPOINT = f"ROLLBACK TO {SAVEPOINT_NAME}"
ROLLBACK = "ROLLBACK"
_NO_SAVEPOINT = f"no such savepoint: {SAVEPOINT_NAME}"
_NO_TRANSACTION = "cannot rollback - no transaction is active"

TAKE_WRITE_LOCK = "UPDATE subscriber_checkpoints SET done = done WHERE 0"
"""Takes the lock of the database's one writer, as BEGIN IMMEDIATE does, and changes nothing."""

# A BLOB by its expression is one, whatever converters the connection has for types of columns.
LOOK = """
WITH wanted (number, topic, segment) AS (VALUES {values})
SELECT wanted.number, CAST(held.done AS BLOB)
FROM wanted CROSS JOIN subscriber_checkpoints AS held
ON held.subscription = ? AND held.topic = wanted.topic AND held.segment = wanted.segment
"""
WRITE = """
INSERT INTO subscriber_checkpoints (subscription, topic, segment, done) VALUES (?, ?, ?, ?)
ON CONFLICT (subscription, topic, segment) DO UPDATE SET done = excluded.done
"""
_LOOK_SEGMENTS = 400
"""Segments of one LOOK: some libraries take 999 variables."""


class SqliteLink(Link):
    """A connection to SQLite; its driver runs statements."""

    # There is one writer anyway, and who has read may not be able to write any more.
    locks_first: ClassVar[bool] = True

    _is_joined = False
    _has_begun = False

    @abstractmethod
    async def _open(self) -> None:
        """Get ready for statements."""

    @abstractmethod
    async def _autocommit(self) -> object:
        """Return the attribute `autocommit` of sqlite3's connection, None if it has none."""

    @abstractmethod
    async def _execute(self, statement: str) -> None:
        """Run a statement."""

    @abstractmethod
    async def _fetch(self, statement: str, arguments: Sequence[object]) -> Iterable[Any]:
        """Run a statement and return its rows, as tuples."""

    @abstractmethod
    async def _execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement with each row of arguments."""

    async def begin(self) -> None:
        """Open a transaction or a savepoint; see Link."""
        await self._open()
        self._is_joined = self.in_transaction
        # Python 3.12 and later have the attribute.
        if self._is_joined and await self._autocommit() is False:
            raise ValueError(
                "a SQLite connection with autocommit=False is in a transaction all the time, so"
                " that nothing can tell when the events are committed: connect with"
                " autocommit=True, or with isolation_level alone"
            )
        try:
            await self._execute(SAVEPOINT)
        except BaseException as error:
            # A statement that is not waited for any more is run all the same.
            with suppress(sqlite3.Error):
                await self.rollback(error)
            raise
        self._has_begun = True

    async def look(self, subscription: str, segments: Sequence[Segment]) -> list[bytes]:
        """Take the write lock and look; see Link."""
        try:
            await self._execute(TAKE_WRITE_LOCK)
        except sqlite3.OperationalError as error:
            if str(error).startswith("no such table: subscriber_checkpoints"):
                raise table_missing() from error
            raise
        found = [NOTHING_DONE] * len(segments)
        for first in range(0, len(segments), _LOOK_SEGMENTS):
            numbers = range(first, min(first + _LOOK_SEGMENTS, len(segments)))
            statement = LOOK.format(values=", ".join(f"({number}, ?, ?)" for number in numbers))
            names = [part for number in numbers for part in segments[number]]
            for number, done in await self._fetch(statement, [*names, subscription]):
                found[number] = done
        return found

    async def lock(self, subscription: str, segments: Sequence[Segment]) -> list[bytes]:
        """Look once more; see Link."""
        return await self.look(subscription, segments)

    async def write(self, subscription: str, changes: Sequence[Change]) -> None:
        """Write bitmaps; see Link."""
        if not self.in_transaction:
            raise transaction_ended()
        # In another transaction that was begun since, the end fails and takes them back.
        await self._execute_many(
            WRITE, [(subscription, *change.segment, change.done) for change in changes]
        )

    async def commit(self) -> None:
        """Commit or release; see Link."""
        if not await self._try(RELEASE, unless=_NO_SAVEPOINT):
            raise transaction_ended()

    async def rollback(self, error: BaseException) -> None:  # noqa: ARG002
        """Undo everything since `begin`; see Link."""
        # Only SQLite knows how far it is: what was cancelled may be under way.
        if not self._is_joined:
            # Unlike the release of a savepoint, which commits, it never waits for readers.
            await self._try(ROLLBACK, unless=_NO_TRANSACTION)
        elif await self._try(ROLLBACK_TO_SAVEPOINT, unless=_NO_SAVEPOINT):
            await self._execute(RELEASE)
        elif self._has_begun:
            # The transaction has ended. One that is open was begun inside the block.
            await self._try(ROLLBACK, unless=_NO_TRANSACTION)

    async def _try(self, statement: str, *, unless: str) -> bool:
        """Run a statement unless there is nothing for it; return whether there was."""
        try:
            await self._execute(statement)
        except sqlite3.OperationalError as error:
            if str(error) != unless:
                raise
            return False
        return True

    async def create_table(self) -> None:
        """Create the table; see Link."""
        await self._open()
        await self._execute(CHECKPOINT_TABLE)
