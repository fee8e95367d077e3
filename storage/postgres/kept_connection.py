"""A pool of one connection that is kept between its users, who have it one after the other.

To borrow it from the driver and to give it back would take a tenth of the time of a command.
"""

import asyncio
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.model import Pool
from storage.postgres.pool import ConnectionPool


class KeptConnection(ConnectionPool):
    """Pool of one connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._kept: PoolConnectionProxy | None = None
        self._in_use = asyncio.Lock()
        self._must_go = False
        """Whether the connection that is kept is to be given back after its use."""

    def usage(self) -> Pool:
        """See `ConnectionPool.usage`."""
        return Pool(int(self._in_use.locked()), self.driver_pool.get_max_size())

    async def acquire(self) -> PoolConnectionProxy:
        """See `ConnectionPool.acquire`."""
        await self._in_use.acquire()
        try:
            if self._kept is None or _is_lost(self._kept):
                self._kept = await super().acquire()
        except BaseException:
            self._in_use.release()
            raise
        return self._kept

    async def release(self, connection: PoolConnectionProxy) -> None:
        """See `ConnectionPool.release`."""
        try:
            if self._must_go or _is_lost(connection):
                self._must_go, self._kept = False, None
                await super().release(connection)
        finally:
            self._in_use.release()

    async def expire_connections(self) -> None:
        """See `ConnectionPool.expire_connections`."""
        await super().expire_connections()
        await self._give_back()

    async def close(self) -> None:
        """See `ConnectionPool.close`."""
        await self._give_back()
        await super().close()

    async def _give_back(self) -> None:
        if self._in_use.locked():
            self._must_go = True
        elif self._kept is not None:
            kept, self._kept = self._kept, None
            await super().release(kept)


def _is_lost(connection: PoolConnectionProxy) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        # The driver has taken it back, as it does when the server ends the session.
        return True
