"""Effects: a row for each in a table of the consumer's own, with no key that would hide doubles."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import aiosqlite
import asyncpg
import psycopg

from subscriber import CHECKPOINT_TABLE, Delivery, Event, checkpoint
from support.consumer_campaign_plan import Library, Plan

BUSY_S = 60.0
"""Longer than any other consumer may write."""

_COLUMNS = """subscription TEXT NOT NULL, topic TEXT NOT NULL, place BIGINT NOT NULL,
event_id TEXT NOT NULL, consumer INT NOT NULL"""
SQLITE_TABLE = f"CREATE TABLE effects (number INTEGER PRIMARY KEY AUTOINCREMENT, {_COLUMNS})"
POSTGRES_TABLE = f"CREATE TABLE effects (number BIGINT GENERATED ALWAYS AS IDENTITY, {_COLUMNS})"
_READ = (
    "SELECT topic, place, event_id, consumer FROM effects WHERE subscription = {} ORDER BY number"
)
_INSERT = "INSERT INTO effects (subscription, topic, place, event_id, consumer) VALUES ({})"
ASYNCPG_INSERT = _INSERT.format("$1, $2, $3, $4, $5")
PSYCOPG_INSERT = _INSERT.format("%s, %s, %s, %s, %s")
SQLITE_INSERT = _INSERT.format("?, ?, ?, ?, ?")

Row = tuple[str, str, int, str, int]
Block = AbstractAsyncContextManager[list[Event]]
"""The block of a checkpoint."""


class Effect(NamedTuple):
    """An effect, as its row says: of which event, and by which consumer."""

    topic: str
    offset: int
    event_id: str
    consumer: int


def row_of(plan: Plan, event: Event) -> Row:
    """Return the row of an event's effect."""
    return plan.subscription, event.topic, event.offset, event.event_id, plan.number


class Effects(Protocol):
    """A connection over which a consumer with an event loop writes effects."""

    async def insert(self, row: Row) -> None:
        """Write an effect, in the transaction that is open or in one of its own."""

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """Open a transaction, and commit it at the end."""

    def checkpoint(self, subscription: str, deliveries: Sequence[Delivery]) -> Block:
        """Return the checkpoint on this connection."""

    async def close(self) -> None:
        """Close the connection, in whatever state it is."""


class _OfAsyncpg:
    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection

    async def insert(self, row: Row) -> None:
        await self._connection.execute(ASYNCPG_INSERT, *row)

    def transaction(self) -> AbstractAsyncContextManager[object]:
        return self._connection.transaction()

    def checkpoint(self, subscription: str, deliveries: Sequence[Delivery]) -> Block:
        return checkpoint(self._connection, subscription, deliveries)

    async def close(self) -> None:
        self._connection.terminate()


class _OfPsycopg:
    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def insert(self, row: Row) -> None:
        await self._connection.execute(PSYCOPG_INSERT, row)

    def transaction(self) -> AbstractAsyncContextManager[object]:
        return self._connection.transaction()

    def checkpoint(self, subscription: str, deliveries: Sequence[Delivery]) -> Block:
        return checkpoint(self._connection, subscription, deliveries)

    async def close(self) -> None:
        await self._connection.close()


class _OfAiosqlite:
    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def insert(self, row: Row) -> None:
        await self._connection.execute(SQLITE_INSERT, row)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[object]:
        try:
            await self._connection.execute("BEGIN")
            yield self._connection
            await self._connection.commit()
        except BaseException:
            await self._connection.rollback()
            raise

    def checkpoint(self, subscription: str, deliveries: Sequence[Delivery]) -> Block:
        return checkpoint(self._connection, subscription, deliveries)

    async def close(self) -> None:
        await self._connection.close()


async def _asyncpg(plan: Plan) -> Effects:
    return _OfAsyncpg(await asyncpg.connect(plan.target))


async def _psycopg(plan: Plan) -> Effects:
    return _OfPsycopg(await psycopg.AsyncConnection.connect(plan.target, autocommit=True))


async def _aiosqlite(plan: Plan) -> Effects:
    return _OfAiosqlite(await aiosqlite.connect(plan.target, timeout=BUSY_S, isolation_level=None))


_CONNECT: dict[Library, Callable[[Plan], Awaitable[Effects]]] = {
    Library.ASYNCPG: _asyncpg,
    Library.PSYCOPG: _psycopg,
    Library.AIOSQLITE: _aiosqlite,
}


class Pool:
    """Connections, one for each handler that runs at the same time.

    Args:
        plan: of the consumer.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._idle: list[Effects] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Effects]:
        """A connection that nobody else uses meanwhile."""
        connection = (
            self._idle.pop() if self._idle else await _CONNECT[self._plan.library](self._plan)
        )
        try:
            yield connection
        except BaseException:
            if self._plan.joins:
                # asyncpg leaves a transaction open whose BEGIN or COMMIT was cancelled.
                await connection.close()
            else:
                # A checkpoint leaves its connection as it found it.
                self._idle.append(connection)
            raise
        self._idle.append(connection)


async def make_tables(target: str, *, is_sqlite: bool) -> None:
    """Make the tables of effects and checkpoints in an empty database."""
    if is_sqlite:
        with closing(sqlite3.connect(target, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(SQLITE_TABLE)
            connection.execute(CHECKPOINT_TABLE)
        return
    server = await asyncpg.connect(target)
    try:
        await server.execute(POSTGRES_TABLE)
        await server.execute(CHECKPOINT_TABLE)
    finally:
        await server.close()


async def read_effects(target: str, subscription: str, *, is_sqlite: bool) -> list[Effect]:
    """Return the effects of a subscription, in the order in which they were written."""
    rows: Iterable[Any]
    if is_sqlite:
        rows = await asyncio.to_thread(_read_sqlite, Path(target), subscription)
    else:
        server = await asyncpg.connect(target)
        try:
            rows = await server.fetch(_READ.format("$1"), subscription)
        finally:
            await server.close()
    return [Effect(*row) for row in rows]


def _read_sqlite(path: Path, subscription: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(_READ.format("?"), (subscription,)).fetchall()
