"""Lending the connections of a pool, also where the server gives fewer than the pool may have.

A connection that can't be had, because a limit is reached or a pooler has none to give, is no
reason to refuse anything as long as another one is open: then it is waited for.
"""

import asyncio

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.postgres.errors import CUT_OFF

_PAUSE_S = 1.0
_PAUSE_FACTOR = 10.0
"""How much longer the pause between two attempts is than an attempt took."""


class Lender:
    """Lends the connections of a pool, one to each who asks.

    Args:
        pool: nobody else may take its connections.
        connect_timeout_s: how long to wait for a connection, in seconds.
        open_timeout_s: how long to wait for one that is open and in use, where no further one can
            be had, in seconds.
    """

    def __init__(
        self, pool: asyncpg.Pool, *, connect_timeout_s: float, open_timeout_s: float
    ) -> None:
        self.pool = pool
        self._connect_timeout_s = connect_timeout_s
        self._open_timeout_s = open_timeout_s
        self._returned = asyncio.Event()
        self._short_of: Exception | None = None
        """Why a further connection could not be had."""
        self._try_again_s = 0.0
        """When to try again, by the event loop's clock."""

    @property
    def all_in_use(self) -> bool:
        """Whether nobody can have a connection now."""
        in_use = self.pool.get_size() - self.pool.get_idle_size()
        return in_use == self.pool.get_max_size() or (self._is_short and self._must_wait)

    async def acquire(self) -> PoolConnectionProxy:
        """A connection, to be given back with `release`.

        Raises what the driver raises, if none can be had.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._open_timeout_s
        while True:
            if self._short_of is not None and self._is_short:
                await self._wait_for_open(deadline_s, self._short_of)
            began_s = loop.time()
            try:
                return await self.pool.acquire(timeout=self._connect_timeout_s)
            except (asyncpg.PostgresError, *CUT_OFF) as error:
                if self.pool.get_size() in {0, self.pool.get_max_size()}:
                    raise
                self._short_of = error
                now_s = loop.time()
                self._try_again_s = now_s + _PAUSE_S + _PAUSE_FACTOR * (now_s - began_s)

    async def release(self, connection: PoolConnectionProxy) -> None:
        """Take a connection back, whatever its state."""
        try:
            await self.pool.release(connection)
        finally:
            self._returned.set()

    @property
    def _is_short(self) -> bool:
        return asyncio.get_running_loop().time() < self._try_again_s

    @property
    def _must_wait(self) -> bool:
        return not self.pool.get_idle_size() and bool(self.pool.get_size())

    async def _wait_for_open(self, deadline_s: float, reason: Exception) -> None:
        try:
            async with asyncio.timeout_at(deadline_s):
                while self._must_wait:
                    self._returned.clear()
                    await self._returned.wait()
        except TimeoutError:
            raise reason from None
