"""Group commit of commands: leases and settles that wait at the same moment share a transaction.

While a transaction is under way, commands collect; the next one takes them in the order in which
they came. Nobody waits on a timer: a lone command is done at once. What is no lease and no settle
has a transaction of its own.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.logging.observer_guard import log_failure, notify
from aggregator.subscriptions.counters import SubscriptionCounters
from storage.errors import BatchRefused, OutcomeUnknown, StorageError, StorageUnavailable
from storage.protocols import SubscriptionStore
from storage.subscriptions.commands import Command, Lease, Settle
from storage.subscriptions.outcomes import Outcome

_MAX_COMMANDS = 512
"""Commands of a transaction."""

_MAX_WAITING = 20_000
"""Commands that wait; each is the request of a client that waits as well."""

_LATE_S = 2.0
"""What is handed back at the very end has so long."""

_DRAIN_EXCEEDED = "drain timeout exceeded while this was done; it may be done or not"
_UNFORESEEN = (
    "a command failed in a way that nobody foresaw, the log has the details; it may be done or not"
)


class _Waiting(NamedTuple):
    command: Command
    outcome: "asyncio.Future[Outcome]"


class CommandQueue:
    """Batches commands, gives the batches to the store, and resolves their futures.

    Args:
        store: does commands; one batch at a time.
        suspect: called with the error of a batch after which the store may be out of reach.
        observe: observer of what was committed: commands and their outcomes.
        counters: counts transactions.
    """

    def __init__(
        self,
        store: SubscriptionStore,
        *,
        suspect: Callable[[StorageError], object],
        observe: Callable[[Sequence[Command], Sequence[Outcome]], object],
        counters: SubscriptionCounters,
    ) -> None:
        self._store = store
        self._suspect = suspect
        self._observe = observe
        self._counters = counters
        self._waiting: deque[_Waiting] = deque()
        self._under_way: tuple[_Waiting, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._closed = False

    def submit(self, command: Command, *, late: bool = False) -> "asyncio.Future[Outcome]":
        """Have a command done.

        Args:
            command: the command.
            late: accept it also behind the drain: what a consumer did not get is handed back.

        Returns:
            A future of its outcome, done when that is durable. It may raise a `StorageError`, see
            `SubscriptionStore.apply`, or `ShuttingDown`. Whoever gives it up does not take the
            command back.

        Raises:
            ShuttingDown: commands are not accepted any more.
            QueueFull: too many wait.
        """
        if self._closed or (self._closing and not late):
            raise ShuttingDown("the aggregator is shutting down")
        if len(self._waiting) >= _MAX_WAITING:
            raise QueueFull(
                f"{len(self._waiting)} commands of subscriptions wait, as many as may be"
            )
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append(_Waiting(command, outcome))
        self._counters.commands_waiting += 1
        if self._task is None:
            self._task = loop.create_task(self._run(), name="subscription-commands")
        return outcome

    async def drain(self, timeout_s: float) -> None:
        """Do what waits, and accept no more of what is not late.

        Args:
            timeout_s: drain timeout in seconds; what is not done by then is refused.
        """
        self._closing = True
        await self._finish(timeout_s)

    async def aclose(self) -> None:
        """Accept nothing more, and do what is late."""
        self._closing = self._closed = True
        await self._finish(_LATE_S)

    async def _finish(self, timeout_s: float) -> None:
        task = self._task
        if task is not None:
            await asyncio.wait([task], timeout=timeout_s)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # One that was cancelled ahead of its first step could not say so itself.
            self._task = None
        never = ShuttingDown("the aggregator shut down before this was done")
        self._refuse(self._waiting, never)
        self._waiting.clear()

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = self._under_way = self._next_batch()
                await self._do(batch)
                self._under_way = ()
        except asyncio.CancelledError:
            self._refuse(self._under_way, OutcomeUnknown(_DRAIN_EXCEEDED))
            raise
        finally:
            self._task = None

    def _next_batch(self) -> tuple[_Waiting, ...]:
        batch = [self._waiting.popleft()]
        if _is_consumers(batch[0].command):
            while (
                self._waiting
                and len(batch) < _MAX_COMMANDS
                and _is_consumers(self._waiting[0].command)
            ):
                batch.append(self._waiting.popleft())
        return tuple(batch)

    async def _do(self, batch: Sequence[_Waiting]) -> None:
        commands = [each.command for each in batch]
        try:
            outcomes = await self._store.apply(commands)
        except BatchRefused as error:
            self._counters.flushes_failed += 1
            if len(batch) == 1:
                self._refuse(batch, error)
                return
            # Rolled back, and one is to blame: the others must not pay for it.
            for index, each in enumerate(batch):
                # What is done is not refused once more, should the drain end here.
                self._under_way = tuple(batch[index:])
                await self._do([each])
        except StorageError as error:
            self._counters.flushes_failed += 1
            if isinstance(error, (StorageUnavailable, OutcomeUnknown)):
                self._suspect(error)
            self._refuse(batch, error)
        except Exception as error:  # noqa: BLE001 - whoever waits must hear
            # Even COMMIT may be behind it; and its text may hold anything.
            self._counters.flushes_failed += 1
            log_failure(self._do, error)
            self._refuse(batch, OutcomeUnknown(_UNFORESEEN))
        else:
            self._counters.flushes += 1
            self._counters.commands_waiting -= len(batch)
            notify(self._observe, commands, outcomes)
            for each, outcome in zip(batch, outcomes, strict=True):
                if not each.outcome.done():
                    each.outcome.set_result(outcome)

    def _refuse(self, batch: Sequence[_Waiting] | deque[_Waiting], error: Exception) -> None:
        self._counters.commands_waiting -= len(batch)
        for each in batch:
            if not each.outcome.done():
                each.outcome.set_exception(error)
                # Whoever gave it up does not fetch it, and one that nobody fetches is logged.
                each.outcome.exception()


def _is_consumers(command: Command) -> bool:
    return isinstance(command, (Lease, Settle))
