"""Connection pool that makes do where the server gives fewer connections than it may have.

A connection that can't be had, because a limit is reached or a pooler has none to give, is no
reason to refuse anything as long as another one is open: then it is waited for.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.errors import StorageMisconfigured
from storage.model import Pool
from storage.postgres.errors import CUT_OFF, UNUSABLE, unusable
from storage.postgres.session import Session

_UNLIMITED_QUERIES = sys.maxsize

_RETRY_PAUSE_S = 1.0
_RETRY_PAUSE_FACTOR = 10.0
"""How much longer the pause between two connection attempts is than an attempt took."""


class ConnectionPool:
    """Pool of connections to one database, opened as they are needed.

    Args:
        pool: the driver's; nobody else may use its connections.
        connect_timeout_s: how long to wait for a connection, in seconds.
        open_timeout_s: how long to wait for one that is open and in use, where no further one can
            be had, in seconds.
    """

    def __init__(
        self, pool: asyncpg.Pool, *, connect_timeout_s: float, open_timeout_s: float
    ) -> None:
        self.driver_pool = pool
        self._connect_timeout_s = connect_timeout_s
        self._open_timeout_s = open_timeout_s
        self._returned = asyncio.Event()
        self._opening = asyncio.Lock()
        self._shortage: Exception | None = None
        """Why a further connection could not be had."""
        self._retry_at_s = 0.0
        """When to try again, by the event loop's clock."""

    @classmethod
    async def open(
        cls,
        dsn: str,
        max_size: int,
        *,
        connect_timeout_s: float,
        command_timeout_s: float,
        start_session: Callable[[asyncpg.Connection], Coroutine[Any, Any, None]],
        connect: bool = True,
    ) -> Self:
        """Open a pool with its first connection.

        Args:
            dsn: a connection URI.
            max_size: maximum number of connections.
            connect_timeout_s: how long to wait for a connection, in seconds.
            command_timeout_s: how long to wait for a statement, in seconds.
            start_session: prepares each new connection.
            connect: whether the first connection is opened now.

        Raises:
            StorageMisconfigured: the DSN can't be used.
            Exception: whatever the driver raises where no connection can be had.
        """
        # Of its own accord a pool connects again in the background, and logs each failure. Nor is
        # a connection given up that works: there might be no other one to be had.
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=max_size,
            max_queries=_UNLIMITED_QUERIES,
            max_inactive_connection_lifetime=0,
            timeout=connect_timeout_s,
            command_timeout=command_timeout_s,
            connection_class=Session,
            init=start_session,
            reset=_keep_session,
        )
        try:
            if connect:
                async with pool.acquire(timeout=connect_timeout_s):
                    pass
        except (*UNUSABLE, ValueError) as error:
            raise StorageMisconfigured(unusable(error)) from error
        return cls(pool, connect_timeout_s=connect_timeout_s, open_timeout_s=command_timeout_s)

    @property
    def all_in_use(self) -> bool:
        """Whether nobody can have a connection now."""
        pool = self.driver_pool
        in_use = pool.get_size() - pool.get_idle_size()
        return in_use == pool.get_max_size() or (self._is_short and self._must_wait)

    def usage(self) -> Pool:
        """Count the connections in use, and those there may be."""
        pool = self.driver_pool
        return Pool(pool.get_size() - pool.get_idle_size(), pool.get_max_size())

    async def acquire(self) -> PoolConnectionProxy:
        """Acquire a connection, to be given back with `release`.

        Raises what the driver raises, if none can be had.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._open_timeout_s
        while True:
            if self._shortage is not None and self._is_short:
                await self._wait_for_open(deadline_s, self._shortage)
            began_s = loop.time()
            try:
                return await self.driver_pool.acquire(timeout=self._connect_timeout_s)
            except (asyncpg.PostgresError, *CUT_OFF) as error:
                if self.driver_pool.get_size() in {0, self.driver_pool.get_max_size()}:
                    raise
                self._remember_shortage(error, began_s)

    async def is_open(self) -> bool:
        """Return whether a connection is open, or can be opened.

        Where none could, it is not tried again for a while.
        """
        async with self._opening:
            if self.driver_pool.get_size():
                return True
            if self._is_short:
                return False
            began_s = asyncio.get_running_loop().time()
            try:
                async with self.driver_pool.acquire(timeout=self._connect_timeout_s):
                    return True
            except (asyncpg.PostgresError, *CUT_OFF) as error:
                self._remember_shortage(error, began_s)
                return False

    async def release(self, connection: PoolConnectionProxy) -> None:
        """Give a connection back, whatever its state."""
        try:
            await self.driver_pool.release(connection)
        finally:
            self._returned.set()

    async def expire_connections(self) -> None:
        """Replace every connection by a new one the next time that it is acquired."""
        await self.driver_pool.expire_connections()

    async def close(self) -> None:
        """Close every connection; one in use at once, if it is not given back in time."""
        try:
            await asyncio.wait_for(self.driver_pool.close(), self._connect_timeout_s)
        except TimeoutError:
            self.driver_pool.terminate()

    @property
    def _is_short(self) -> bool:
        return asyncio.get_running_loop().time() < self._retry_at_s

    def _remember_shortage(self, error: Exception, began_s: float) -> None:
        self._shortage = error
        now_s = asyncio.get_running_loop().time()
        self._retry_at_s = now_s + _RETRY_PAUSE_S + _RETRY_PAUSE_FACTOR * (now_s - began_s)

    @property
    def _must_wait(self) -> bool:
        return not self.driver_pool.get_idle_size() and bool(self.driver_pool.get_size())

    async def _wait_for_open(self, deadline_s: float, shortage: Exception) -> None:
        try:
            async with asyncio.timeout_at(deadline_s):
                while self._must_wait:
                    self._returned.clear()
                    await self._returned.wait()
        except TimeoutError:
            raise shortage from None


async def _keep_session(_connection: asyncpg.Connection) -> None:
    # Nothing is set in a session but what it starts with. The driver's own reset would cost
    # a round trip a batch, and its failure would make an error of a batch that is committed.
    # An open transaction is rolled back by the driver before this is called.
    return
