"""Connections of aiosqlite."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import aiosqlite

from subscriber.checkpoints.sqlite import SqliteLink


def link_to(connection: object) -> "AiosqliteLink | None":
    """Return the link to a connection, None if it is none of aiosqlite's."""
    return AiosqliteLink(connection) if isinstance(connection, aiosqlite.Connection) else None


class AiosqliteLink(SqliteLink):
    """A connection of aiosqlite, which runs statements in a thread, one after the other."""

    blocks: ClassVar[bool] = False
    is_awaited: ClassVar[bool] = True
    _cursor: aiosqlite.Cursor

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        """Whether the connection is in a transaction; see Link."""
        try:
            return self._connection.in_transaction
        except ValueError:
            # It is closed.
            return False

    async def _open(self) -> None:
        self._cursor = await self._connection.cursor()
        # Tuples, whatever the row factory of the connection.
        self._cursor.row_factory = None

    async def _autocommit(self) -> object:
        # Only its own thread may look.
        run: Any = self._connection._execute  # noqa: SLF001
        return await run(getattr, self._cursor.connection, "autocommit", None)

    async def _execute(self, statement: str) -> None:
        await self._cursor.execute(statement)

    async def _fetch(self, statement: str, arguments: Sequence[object]) -> Iterable[Any]:
        await self._cursor.execute(statement, arguments)
        return await self._cursor.fetchall()

    async def _execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        await self._cursor.executemany(statement, rows)
