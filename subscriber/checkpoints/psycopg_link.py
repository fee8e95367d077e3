"""Connections of psycopg 3, those that are awaited and those that block."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, ClassVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from subscriber.checkpoints.link import SAVEPOINT_NAME
from subscriber.checkpoints.postgres import ROLLBACK_TO_SAVEPOINT, PostgresLink

_NO_TRANSACTION = {TransactionStatus.IDLE, TransactionStatus.UNKNOWN}
"""UNKNOWN is that of a connection that is closed or lost."""


def link_to(connection: object) -> "PsycopgLink | None":
    """Return the link to a connection, None if it is none of psycopg's."""
    if isinstance(connection, psycopg.AsyncConnection):
        return AwaitedPsycopgLink(connection)
    return BlockingPsycopgLink(connection) if isinstance(connection, psycopg.Connection) else None


class PsycopgLink(PostgresLink):
    """A connection of psycopg, with autocommit or without."""

    _connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]
    _is_joined = False
    _depth = 0
    """How many of its transactions psycopg was in before."""
    _is_ending = False
    """Whether the end of the transaction was tried, which psycopg does once."""
    _isolation_level: psycopg.IsolationLevel | None = None
    """That of the connection, as it was before and will be again."""

    @property
    def in_transaction(self) -> bool:
        """Whether the connection is in a transaction; see Link."""
        return self._connection.info.transaction_status not in _NO_TRANSACTION

    async def begin(self) -> None:
        """Open a transaction or a savepoint; see Link."""
        self._is_joined = self.in_transaction
        self._isolation_level = self._connection.isolation_level
        self._depth = self._connection._num_transactions  # noqa: SLF001
        try:
            if not self._is_joined:
                await self._isolate(psycopg.IsolationLevel.READ_COMMITTED)
            await self._enter(SAVEPOINT_NAME if self._is_joined else None)
        except BaseException:
            if not self._is_joined:
                await self._roll_back("ROLLBACK")
            raise

    async def commit(self) -> None:
        """Commit or release; see Link."""
        self._is_ending = True
        await self._leave(None)
        if self._connection.closed:
            # psycopg says nothing about a transaction that went with its connection.
            raise psycopg.OperationalError("the connection was lost before the commit")
        await self._isolate(self._isolation_level)

    async def rollback(self, error: BaseException) -> None:
        """Undo everything since `begin`; see Link."""
        if not self._is_ending:
            self._is_ending = True
            await self._leave(error)
            await self._isolate(self._isolation_level)
        else:
            await self._roll_back(ROLLBACK_TO_SAVEPOINT if self._is_joined else "ROLLBACK")

    async def _roll_back(self, statements: str) -> None:
        """Roll back where `connection.transaction()` was not entered, or not left."""
        # Then it is still in it by its own count, before 3.3.7 also where BEGIN was cancelled.
        self._connection._num_transactions = self._depth  # noqa: SLF001
        if self.in_transaction:
            await self._execute(statements)
        await self._isolate(self._isolation_level)

    async def _isolate(self, level: psycopg.IsolationLevel | None) -> None:
        """Set what the next BEGIN says; psycopg has no argument for it, and sends nothing here."""
        is_idle = self._connection.info.transaction_status == TransactionStatus.IDLE
        if is_idle and self._connection.isolation_level != level:
            await self._set_isolation_level(level)

    @abstractmethod
    async def _enter(self, savepoint: str | None) -> None:
        """Enter `connection.transaction()`; while it is open psycopg refuses `commit()`."""

    @abstractmethod
    async def _leave(self, error: BaseException | None) -> None:
        """Leave it, with an error or without."""

    @abstractmethod
    async def _set_isolation_level(self, level: psycopg.IsolationLevel | None) -> None:
        pass

    @abstractmethod
    async def _execute(self, statements: str) -> None:
        pass


class AwaitedPsycopgLink(PsycopgLink):
    """A connection of psycopg whose methods are awaited."""

    blocks: ClassVar[bool] = False
    is_awaited: ClassVar[bool] = True
    _transaction: AbstractAsyncContextManager[object]

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection: psycopg.AsyncConnection[Any] = connection

    async def _enter(self, savepoint: str | None) -> None:
        self._transaction = self._connection.transaction(savepoint)
        await self._transaction.__aenter__()

    async def _leave(self, error: BaseException | None) -> None:
        trace = error.__traceback__ if error is not None else None
        kind = type(error) if error is not None else None
        # Whatever it says, no exception ends here.
        await self._transaction.__aexit__(kind, error, trace)

    async def _set_isolation_level(self, level: psycopg.IsolationLevel | None) -> None:
        await self._connection.set_isolation_level(level)

    async def _execute(self, statements: str) -> None:
        await self._connection.execute(statements)

    async def _fetch(self, statement: str, *arguments: object) -> Sequence[Sequence[Any]]:
        # The connection may make other cursors and other rows.
        async with psycopg.AsyncRawCursor(self._connection, row_factory=tuple_row) as cursor:
            await cursor.execute(statement, arguments, binary=True)
            return await cursor.fetchall() if cursor.description else []


class BlockingPsycopgLink(PsycopgLink):
    """A connection of psycopg whose methods block."""

    blocks: ClassVar[bool] = True
    is_awaited: ClassVar[bool] = False
    _transaction: AbstractContextManager[object]

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection: psycopg.Connection[Any] = connection

    async def _enter(self, savepoint: str | None) -> None:
        self._transaction = self._connection.transaction(savepoint)
        self._transaction.__enter__()

    async def _leave(self, error: BaseException | None) -> None:
        trace = error.__traceback__ if error is not None else None
        kind = type(error) if error is not None else None
        self._transaction.__exit__(kind, error, trace)

    async def _set_isolation_level(self, level: psycopg.IsolationLevel | None) -> None:
        self._connection.set_isolation_level(level)

    async def _execute(self, statements: str) -> None:
        self._connection.execute(statements)

    async def _fetch(self, statement: str, *arguments: object) -> Sequence[Sequence[Any]]:
        with psycopg.RawCursor(self._connection, row_factory=tuple_row) as cursor:
            cursor.execute(statement, arguments, binary=True)
            return cursor.fetchall() if cursor.description else []
