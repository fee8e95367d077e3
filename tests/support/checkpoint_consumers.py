"""Consumers with a database of their own: each driver's connections in the same words."""

import asyncio
import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, ClassVar, Self, TypeVar

import aiosqlite
import asyncpg
import psycopg

from subscriber.checkpoints import checkpoint, create_checkpoint_table
from subscriber.checkpoints.link import without_waiting
from subscriber.checkpoints.segments import HandedOut
from subscriber.events import Event
from support.backends import Database

T = TypeVar("T")

EFFECTS = 'CREATE TABLE IF NOT EXISTS effects (subscription TEXT, topic TEXT, "offset" BIGINT)'
_WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'"""
_BUSY_TIMEOUT_S = 20
_LIMIT_S = 30


class Consumer(ABC):
    """A connection and what a handler does with it.

    The coroutines of a consumer whose driver blocks never wait for the event loop.
    """

    backend: ClassVar[str]
    blocks: ClassVar[bool] = False
    connection: Any

    @classmethod
    @abstractmethod
    async def connect(cls, database: Database, **options: Any) -> Self:
        """Connect, so that a statement outside of a transaction is one of its own."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connection."""

    @abstractmethod
    async def run(self, statement: str, *arguments: object) -> Sequence[Sequence[Any]]:
        """Run a statement, with ? for its arguments, and return its rows."""

    @abstractmethod
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""

    @asynccontextmanager
    async def checkpoint(
        self, subscription: str, batch: HandedOut | Sequence[HandedOut]
    ) -> AsyncIterator[list[Event]]:
        """A checkpoint over the connection, in the form that is under test."""
        async with checkpoint(self.connection, subscription, batch) as fresh:
            yield fresh

    async def create_table(self) -> None:
        """Create the table of checkpoints."""
        await create_checkpoint_table(self.connection)

    async def prepare(self) -> None:
        """Make the table, and one for effects, both empty."""
        await self.create_table()
        await self.run(EFFECTS)
        for table in ("subscriber_checkpoints", "effects"):
            await self.run(f"DELETE FROM {table}")

    async def effect(self, subscription: str, events: Iterable[Event]) -> None:
        """Write down that a handler had these events."""
        for event in events:
            await self.run(
                "INSERT INTO effects VALUES (?, ?, ?)", subscription, event.topic, event.offset
            )

    async def consume(
        self, subscription: str, batch: HandedOut | Sequence[HandedOut], *statements: str
    ) -> list[tuple[str, int]]:
        """Handle a batch, run more statements, and return the events that were fresh."""
        async with self.checkpoint(subscription, batch) as fresh:
            await self.effect(subscription, fresh)
            for statement in statements:
                await self.run(statement)
        return places(fresh)

    async def fail(
        self, subscription: str, batch: HandedOut | Sequence[HandedOut], error: BaseException
    ) -> None:
        """Handle a batch, and raise an error."""
        async with self.checkpoint(subscription, batch) as fresh:
            await self.effect(subscription, fresh)
            raise error

    async def effects(self, subscription: str) -> list[tuple[str, int]]:
        """What handlers did, sorted."""
        rows = await self.run(
            'SELECT topic, "offset" FROM effects WHERE subscription = ?', subscription
        )
        return sorted((topic, offset) for topic, offset in rows)

    async def see_waiting(self, number: int = 1) -> None:
        """Wait until so many other consumers wait for a lock of Postgres."""
        async with asyncio.timeout(_LIMIT_S):
            while len(await self.run(_WAITING)) < number:
                await asyncio.sleep(0.001)
                # In a transaction it would always tell the same.
                await self.run("SELECT pg_stat_clear_snapshot()")

    def apart(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Let the consumer do something beside the test."""
        if self.blocks:
            return asyncio.create_task(asyncio.to_thread(without_waiting, work))
        return asyncio.create_task(work)


def places(events: Iterable[Event]) -> list[tuple[str, int]]:
    """The topic and the offset of each event."""
    return [(event.topic, event.offset) for event in events]


class Asyncpg(Consumer):
    """asyncpg."""

    backend = "postgres"

    @classmethod
    async def connect(cls, database: Database, **options: Any) -> Self:
        self = cls()
        self.connection = await asyncpg.connect(database.dsn, **options)
        return self

    async def close(self) -> None:
        await self.connection.close()

    async def run(self, statement: str, *arguments: object) -> Sequence[Sequence[Any]]:
        numbers = count(1)
        statement = re.sub(r"\?", lambda _: f"${next(numbers)}", statement)
        rows: Sequence[Sequence[Any]] = await self.connection.fetch(statement, *arguments)
        return rows

    def is_in_transaction(self) -> bool:
        return bool(self.connection.is_in_transaction())


class Psycopg(Consumer):
    """psycopg, awaited."""

    backend = "postgres"

    @classmethod
    async def connect(cls, database: Database, **options: Any) -> Self:
        self = cls()
        self.connection = await psycopg.AsyncConnection.connect(
            database.dsn, **{"autocommit": True} | options
        )
        return self

    async def close(self) -> None:
        await self.connection.close()

    async def run(self, statement: str, *arguments: object) -> Sequence[Sequence[Any]]:
        cursor = await self.connection.execute(statement.replace("?", "%s"), arguments or None)
        rows: Sequence[Sequence[Any]] = await cursor.fetchall() if cursor.description else []
        return rows

    def is_in_transaction(self) -> bool:
        return bool(self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE)


class BlockingPsycopg(Psycopg):
    """psycopg, blocking."""

    blocks = True

    @classmethod
    async def connect(cls, database: Database, **options: Any) -> Self:
        self = cls()
        self.connection = psycopg.connect(database.dsn, **{"autocommit": True} | options)
        return self

    async def close(self) -> None:
        self.connection.close()

    async def run(self, statement: str, *arguments: object) -> Sequence[Sequence[Any]]:
        cursor = self.connection.execute(statement.replace("?", "%s"), arguments or None)
        rows: Sequence[Sequence[Any]] = cursor.fetchall() if cursor.description else []
        return rows

    @asynccontextmanager
    async def checkpoint(
        self, subscription: str, batch: HandedOut | Sequence[HandedOut]
    ) -> AsyncIterator[list[Event]]:
        with checkpoint(self.connection, subscription, batch) as fresh:
            yield fresh

    async def create_table(self) -> None:
        create_checkpoint_table(self.connection)


class Sqlite3(Consumer):
    """sqlite3, `with`."""

    backend = "sqlite"
    blocks = True

    @classmethod
    async def connect(cls, database: Database, **options: Any) -> Self:
        self = cls()
        journal = options.pop("journal", "wal")
        self.connection = sqlite3.connect(
            database.path, check_same_thread=False, **_as_they_are_best(options)
        )
        self.connection.execute(f"PRAGMA journal_mode = {journal}")
        return self

    async def close(self) -> None:
        self.connection.close()

    async def run(self, statement: str, *arguments: object) -> Sequence[Sequence[Any]]:
        return list(self.connection.execute(statement, arguments).fetchall())

    def is_in_transaction(self) -> bool:
        return bool(self.connection.in_transaction)

    @asynccontextmanager
    async def checkpoint(
        self, subscription: str, batch: HandedOut | Sequence[HandedOut]
    ) -> AsyncIterator[list[Event]]:
        with checkpoint(self.connection, subscription, batch) as fresh:
            yield fresh

    async def create_table(self) -> None:
        create_checkpoint_table(self.connection)


class AsyncSqlite3(Sqlite3):
    """sqlite3, `async with`."""

    @asynccontextmanager
    async def checkpoint(
        self, subscription: str, batch: HandedOut | Sequence[HandedOut]
    ) -> AsyncIterator[list[Event]]:
        async with checkpoint(self.connection, subscription, batch) as fresh:
            yield fresh


class Aiosqlite(Consumer):
    """aiosqlite."""

    backend = "sqlite"

    @classmethod
    async def connect(cls, database: Database, **options: Any) -> Self:
        self = cls()
        journal = options.pop("journal", "wal")
        self.connection = await aiosqlite.connect(database.path, **_as_they_are_best(options))
        await self.run(f"PRAGMA journal_mode = {journal}")
        return self

    async def close(self) -> None:
        await self.connection.close()

    async def run(self, statement: str, *arguments: object) -> Sequence[Sequence[Any]]:
        return list(await self.connection.execute_fetchall(statement, arguments))

    def is_in_transaction(self) -> bool:
        return bool(self.connection.in_transaction)


def _as_they_are_best(options: dict[str, Any]) -> dict[str, Any]:
    return {"timeout": _BUSY_TIMEOUT_S, "isolation_level": None} | options


KINDS: dict[str, type[Consumer]] = {
    "asyncpg": Asyncpg,
    "psycopg": Psycopg,
    "psycopg-blocking": BlockingPsycopg,
    "sqlite3": Sqlite3,
    "sqlite3-async": AsyncSqlite3,
    "aiosqlite": Aiosqlite,
}
"""What a checkpoint takes, and in which form."""
ON_POSTGRES = [name for name, kind in KINDS.items() if kind.backend == "postgres"]
ON_SQLITE = [name for name, kind in KINDS.items() if kind.backend == "sqlite"]
