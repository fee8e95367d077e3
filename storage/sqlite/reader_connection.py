"""A connection that reads the SQLite file, in a thread of its own."""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

from storage.reading.statements import Row, Rows
from storage.sqlite.connection import FIRST_READ, GuardedConnection
from storage.sqlite.file_guard import FileGuard

Result = TypeVar("Result")


async def connect_reader(
    path: Path, files: FileGuard, busy_timeout_s: float
) -> aiosqlite.Connection:
    """Open a connection that is used to read, with a thread of its own.

    Args:
        path: the database file.
        files: the guard that the connection belongs to from now on.
        busy_timeout_s: how long to wait for a lock, in seconds.

    Raises:
        sqlite3.Error: the file can't be used now.
    """
    opening = asyncio.create_task(_connect(path, files, busy_timeout_s))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        # What hangs in the kernel can't be ended: it is waited for, so that nobody begins another.
        await asyncio.wait([opening])
        if opening.exception() is None:
            await opening.result().close()
        raise


async def _connect(path: Path, files: FileGuard, busy_timeout_s: float) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(
        path,
        timeout=busy_timeout_s,
        isolation_level=None,
        factory=partial(GuardedConnection, files=files),
    )
    try:
        await connection.execute_fetchall(FIRST_READ)
    except BaseException:
        await connection.close()
        raise
    return connection


def rows_of(connection: aiosqlite.Connection) -> Rows:
    """Return a function that runs a statement on the connection and returns its rows."""

    async def rows(sql: str, arguments: Sequence[object]) -> Sequence[Row]:
        named = {str(number): value for number, value in enumerate(arguments, start=1)}
        # In one hop to its thread and back.
        step = connection.execute_fetchall(sql, named)
        return list(await _interruptible(connection, step))

    return rows


async def _interruptible(connection: aiosqlite.Connection, step: Awaitable[Result]) -> Result:
    """Await a step; interrupt it if the wait for it is cancelled."""
    try:
        return await step
    except asyncio.CancelledError:
        await connection.interrupt()
        raise
