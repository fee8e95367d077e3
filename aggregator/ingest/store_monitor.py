"""The store monitor: opens the store, notices when it is lost, waits until it is back."""

import asyncio
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from storage.errors import StorageError, StorageUnavailable
from storage.protocols import StoreLifecycle

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0


class StoreMonitor:
    """Monitors whether the store is available.

    Args:
        store: opened by `run`, and pinged whenever it is suspected.
        on_change: called with the reason when the store is lost, with None when it is back.
    """

    def __init__(self, store: StoreLifecycle, on_change: Callable[[str | None], None]) -> None:
        self._store = store
        self._on_change = on_change
        self.failed_attempts = 0
        """Number of attempts to open the store, or to get it back, that failed."""
        self._suspected = asyncio.Event()
        self.tried = asyncio.Event()
        """Set once the first attempt to open the store has ended, or is waited for no longer."""
        self.reason: str | None = "the storage is being opened"
        """Why events can't be stored now; None if they can."""

    def check(self) -> None:
        """Return if events can be stored now.

        Raises:
            StorageUnavailable: they can't; its message is the reason.
        """
        if self.reason is not None:
            raise StorageUnavailable(self.reason)

    def suspect(self, error: StorageError) -> None:
        """Hold the store for unavailable until a ping succeeds, because a call failed."""
        self._change(str(error))
        self._suspected.set()

    async def run(self) -> None:
        """Open the store, then monitor it until cancelled.

        Raises:
            StorageMisconfigured: it can't be opened, and waiting will not help.
        """
        await self._until_available(self._store.open)
        while True:
            self._change(None)
            self._suspected.clear()
            await self._suspected.wait()
            await self._until_available(self._ping)

    async def _ping(self) -> None:
        try:
            await self._store.ping()
        except StorageError as error:
            # At run time somebody else has to mend it; until then it is merely out of reach.
            raise StorageUnavailable(str(error)) from error

    async def _until_available(self, attempt: Callable[[], Awaitable[None]]) -> None:
        async for retry in AsyncRetrying(
            retry=retry_if_exception_type(StorageUnavailable),
            wait=wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S),
            before_sleep=self._count_failure,
        ):
            with retry:
                await attempt()

    def _count_failure(self, state: RetryCallState) -> None:
        self.failed_attempts += 1
        if state.outcome is not None:
            self._change(str(state.outcome.exception()))

    def _change(self, reason: str | None) -> None:
        self.tried.set()
        if reason != self.reason:
            self.reason = reason
            self._on_change(reason)
