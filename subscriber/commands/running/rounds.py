"""The consuming of a subscription in rounds, with a pause where batches are put off."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

from subscriber.commands.running.batch_command import BatchCommand
from subscriber.commands.running.batch_runner import BatchRunner
from subscriber.commands.running.command_pipes import is_standard_output_read
from subscriber.subscription import Subscriber

_FIRST_PAUSE_S = 1.0
_MAX_PAUSE_S = 60.0


class Rounds:
    """Consumes a subscription until it is stopped, has caught up, or the command can't go on.

    In a pause nothing is leased: each round has a subscriber of its own.

    Args:
        make: makes a subscriber.
        command: handles the batches.
        max_events: events of a batch at most.
        concurrency: batches that are handled at once.
        until_caught_up: end when nothing is leased or waiting any more.
        say: says a sentence to people.
    """

    def __init__(
        self,
        make: Callable[[], Subscriber],
        command: BatchCommand,
        *,
        max_events: int,
        concurrency: int,
        until_caught_up: bool,
        say: Callable[[str], None],
    ) -> None:
        self._make = make
        self._max_events = max_events
        self._concurrency = concurrency
        self._until_caught_up = until_caught_up
        self._say = say
        self._runner = BatchRunner(command, self._end_round, is_standard_output_read)
        self._subscriber: Subscriber | None = None
        self._stopped = asyncio.Event()
        self._pause_s = _FIRST_PAUSE_S

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Begin nothing more, and let the commands that run finish."""
        self._stopped.set()
        self._runner.end_round()
        self._end_round()

    async def run(self) -> None:
        """Consume.

        Raises:
            CannotStart: the command can't be started.
            SubscriptionRefused, SubscriptionGaveUp: see `Subscriber.run_batches`.
        """
        while not self.is_stopped:
            self._runner.begin_round()
            await self._round()
            if self._runner.failure is not None:
                raise self._runner.failure
            if self._runner.has_no_reader:
                self._say("nobody reads standard output any more; what was leased is released")
                return
            if self._runner.put_off is None:
                return
            await self._pause(self._runner.put_off)

    async def _round(self) -> None:
        async with AsyncExitStack() as stack:
            subscriber = self._make()
            if not await self._entered(stack, subscriber):
                return
            self._subscriber = subscriber
            try:
                await subscriber.run_batches(
                    self._runner,
                    self._max_events,
                    concurrency=self._concurrency,
                    until_caught_up=self._until_caught_up,
                )
            finally:
                self._subscriber = None

    async def _entered(self, stack: AsyncExitStack, subscriber: Subscriber) -> bool:
        """Enter a subscriber; return whether that was done before everything is to end."""
        entering = asyncio.create_task(stack.enter_async_context(subscriber))
        stopping = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait([entering, stopping], return_when=asyncio.FIRST_COMPLETED)
            if self.is_stopped:
                return False
            await entering
            return True
        finally:
            for task in (entering, stopping):
                task.cancel()
            await asyncio.gather(entering, stopping, return_exceptions=True)

    async def _pause(self, reason: str) -> None:
        if self._runner.has_succeeded:
            self._pause_s = _FIRST_PAUSE_S
        if not self.is_stopped:
            self._say(f"{reason}; going on in {self._pause_s:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._pause_s)
        self._pause_s = min(2 * self._pause_s, _MAX_PAUSE_S)

    def _end_round(self) -> None:
        if self._subscriber is not None:
            self._subscriber.stop()
