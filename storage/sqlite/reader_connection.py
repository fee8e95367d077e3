"""A connection that reads the SQLite file, and the rows that come over it."""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

from storage.reading.page_fetch import Row, Rows
from storage.sqlite.file_guard import FileGuard, GuardedConnection

Result = TypeVar("Result")


async def connect_reader(
    path: Path, files: FileGuard, busy_timeout_s: float
) -> aiosqlite.Connection:
    """A connection to the file, with a thread of its own, that is used to read.

    Args:
        path: the database file.
        files: what the connection belongs to from now on.
        busy_timeout_s: how long to wait for a lock, in seconds.

    Raises:
        sqlite3.Error: it can't be used now.
    """
    connection = await aiosqlite.connect(
        path,
        timeout=busy_timeout_s,
        isolation_level=None,
        factory=partial(GuardedConnection, files=files),
    )
    try:
        # The -wal file is opened with the first read: now, not when it may be another.
        await connection.execute_fetchall("SELECT count(*) FROM sqlite_schema")
    except BaseException:
        await connection.close()
        raise
    return connection


def rows_of(connection: aiosqlite.Connection) -> Rows:
    """What runs a statement on the connection and gives its rows."""

    async def rows(sql: str, arguments: Sequence[object]) -> Sequence[Row]:
        named = {str(number): value for number, value in enumerate(arguments, start=1)}
        # In one hop to its thread and back.
        step = connection.execute_fetchall(sql, named)
        return list(await _interruptible(connection, step))

    return rows


async def _interruptible(connection: aiosqlite.Connection, step: Awaitable[Result]) -> Result:
    """What a step comes to; one that is waited for no longer does not go on for long."""
    try:
        return await step
    except asyncio.CancelledError:
        await connection.interrupt()
        raise
