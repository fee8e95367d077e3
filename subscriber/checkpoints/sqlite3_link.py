"""Connections of sqlite3."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from subscriber.checkpoints.sqlite import SqliteLink


def link_to(connection: object) -> "Sqlite3Link | None":
    """Return the link to a connection, None if it is none of sqlite3's."""
    return Sqlite3Link(connection) if isinstance(connection, sqlite3.Connection) else None


class Sqlite3Link(SqliteLink):
    """A connection of sqlite3, whose calls block, shortly enough for an event loop."""

    blocks: ClassVar[bool] = True
    is_awaited: ClassVar[bool] = True
    _cursor: sqlite3.Cursor

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        """Whether the connection is in a transaction; see Link."""
        try:
            return self._connection.in_transaction
        except sqlite3.ProgrammingError:
            # It is closed.
            return False

    async def _open(self) -> None:
        # Unlike those of `connection.cursor()` its rows are tuples, whatever the row factory.
        self._cursor = sqlite3.Cursor(self._connection)

    async def _autocommit(self) -> object:
        return getattr(self._connection, "autocommit", None)

    async def _execute(self, statement: str) -> None:
        self._cursor.execute(statement)

    async def _fetch(self, statement: str, arguments: Sequence[object]) -> Iterable[Any]:
        return self._cursor.execute(statement, arguments).fetchall()

    async def _execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        self._cursor.executemany(statement, rows)
