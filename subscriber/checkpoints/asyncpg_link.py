"""Connections of asyncpg, also those of its pool."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import asyncpg

from subscriber.checkpoints.postgres import (
    RELEASE,
    ROLLBACK_TO_SAVEPOINT,
    SAVEPOINT,
    PostgresLink,
)

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy
    from asyncpg.transaction import Transaction

    Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"


def link_to(connection: object) -> "AsyncpgLink | None":
    """Return the link to a connection, None if it is none of asyncpg's."""
    # That holds for the connections of a pool, too.
    return AsyncpgLink(connection) if isinstance(connection, asyncpg.Connection) else None


class AsyncpgLink(PostgresLink):
    """A connection of asyncpg."""

    blocks: ClassVar[bool] = False
    is_awaited: ClassVar[bool] = True

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._transaction: Transaction | None = None
        """The transaction that was opened; None: one was joined."""
        self._is_ending = False
        """Whether it was told to commit, after which it can't be told to roll back."""

    @property
    def in_transaction(self) -> bool:
        """Whether the connection is in a transaction; see Link."""
        try:
            return self._connection.is_in_transaction()
        except asyncpg.InterfaceError:
            # It was released to its pool.
            return False

    async def begin(self) -> None:
        """Open a transaction or a savepoint; see Link."""
        if self.in_transaction:
            # asyncpg has no savepoints for a transaction that was begun by a statement.
            await self._connection.execute(SAVEPOINT)
            return
        # The block may go on with `connection.transaction()`.
        transaction = self._connection.transaction(isolation="read_committed")
        try:
            await transaction.start()
        except BaseException:
            await self._forget(transaction)
            raise
        self._transaction = transaction

    async def _forget(self, transaction: "Transaction") -> None:
        # A transaction whose BEGIN failed, or was cancelled, stays the connection's current one:
        # whatever comes next would be a savepoint in it.
        connection: Any = getattr(self._connection, "_con", self._connection)
        if getattr(connection, "_top_xact", None) is transaction:
            connection._top_xact = None  # noqa: SLF001
        # What was cancelled may be under way: whether it has begun is not known before the answer.
        with suppress(Exception):
            await self._connection.execute("ROLLBACK")

    async def commit(self) -> None:
        """Commit or release; see Link."""
        if self._transaction is None:
            await self._connection.execute(RELEASE)
        else:
            self._is_ending = True
            await self._transaction.commit()

    async def rollback(self, error: BaseException) -> None:  # noqa: ARG002
        """Undo everything since `begin`; see Link."""
        if self._transaction is not None and not self._is_ending:
            await self._transaction.rollback()
        elif self.in_transaction:
            joined = self._transaction is None
            await self._connection.execute(ROLLBACK_TO_SAVEPOINT if joined else "ROLLBACK")

    async def _fetch(self, statement: str, *arguments: object) -> Sequence[Sequence[Any]]:
        return await self._connection.fetch(statement, *arguments)
