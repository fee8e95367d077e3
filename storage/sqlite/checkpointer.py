"""Copying what was committed from the WAL into the database file, beside the writing.

Left to SQLite, the commit that makes the WAL too long copies all of it while everybody waits.
With random keys that is most of the database's pages, several times a second. Here a connection
of its own copies while commits go on. What came meanwhile is little: that the writer copies
itself, between two transactions, and its next one starts at the beginning of the WAL again.

Copied once a second, a page that each transaction changes is written to the database once, not
once a commit. (sqlite.org/wal.html calls these application-initiated checkpoints.)
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable

import aiosqlite

from storage.errors import StorageUnavailable

CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
"""Copies what it can without keeping anybody waiting."""

_EVERY_S = 1.0
_FEW_PAGES = 250
_MOST_PASSES = 5


class Checkpointer:
    """Copies while there is something to copy.

    Args:
        connection: on the database, for nothing else.
        check: raises `StorageUnavailable` if nothing may be written to it.
        finish: copies the rest while nobody writes.
        on_failure: told what went wrong; it is tried again after the next commit.
    """

    def __init__(
        self,
        connection: aiosqlite.Connection,
        *,
        check: Callable[[], None],
        finish: Callable[[], Awaitable[None]],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._connection = connection
        self._check = check
        self._finish = finish
        self._on_failure = on_failure
        self._committed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="checkpoints")

    def committed(self) -> None:
        """There is more to copy. May be called from any thread."""
        if not self._committed.is_set():
            self._loop.call_soon_threadsafe(self._committed.set)

    async def aclose(self) -> None:
        """End the copying, and close the connection."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._connection.close()

    async def _run(self) -> None:
        while True:
            await self._committed.wait()
            await asyncio.sleep(_EVERY_S)
            self._committed.clear()
            try:
                await self._copy()
            except (sqlite3.Error, StorageUnavailable) as error:
                self._on_failure(error)

    async def _copy(self) -> None:
        copied_before = 0
        for _ in range(_MOST_PASSES):
            self._check()
            ((_, pages, copied),) = await self._connection.execute_fetchall(CHECKPOINT)
            if pages - copied_before <= _FEW_PAGES:
                break
            copied_before = copied
        await self._finish()
