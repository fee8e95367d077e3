"""Appends of a store: the optimistic way first, the locked way where that was in vain."""

from collections.abc import Sequence

from asyncpg.pool import PoolConnectionProxy

from storage.model import Appended, Event
from storage.postgres import locked_append, optimistic_append
from storage.postgres.optimistic_append import NotStored
from storage.postgres.turn import Turn

BACKOFF_BATCHES = 16
"""Batches that go the locked way after an optimistic append found a topic changed: others write
to the same topics, and it is likely to happen again. Twice as many each time that it does."""

MAX_BACKOFF_BATCHES = 1024


class Backoff:
    """Exponential backoff, counted in batches."""

    def __init__(self) -> None:
        self.remaining = 0
        """Batches that are yet to go the locked way."""
        self.next_batches = BACKOFF_BATCHES
        """How many it will be after the next failure."""

    def may_try(self) -> bool:
        """Tell whether the next batch may be tried the optimistic way, and count it if not."""
        if self.remaining:
            self.remaining -= 1
            return False
        return True

    def failed(self) -> None:
        """Begin to back off."""
        self.remaining = self.next_batches
        self.next_batches = min(2 * self.remaining, MAX_BACKOFF_BATCHES)

    def succeeded(self) -> None:
        """Let the next failure count as the first."""
        self.next_batches = BACKOFF_BATCHES


class Appender:
    """Appends the batches of one store."""

    def __init__(self) -> None:
        self.backoff = Backoff()

    async def append(
        self, connection: PoolConnectionProxy, batch: Sequence[Event], turn: Turn
    ) -> Appended:
        """Store a batch; see `EventAppender.append`.

        Args:
            connection: not in a transaction, neither before nor after, or it is closed.
            batch: at least one event.
            turn: is passed on when the next batch may be given; until then, none may be.

        Raises what `storage.postgres.locked_append.append` raises.
        """
        if self.backoff.may_try():
            appended = await optimistic_append.append(connection, batch, turn)
            if isinstance(appended, Appended):
                self.backoff.succeeded()
                return appended
            if appended is NotStored.TOPIC_CHANGED:
                self.backoff.failed()
        # While all go the locked way, the next one need not know what this one leaves behind.
        return await locked_append.append(
            connection, batch, turn, release_when_locked=self.backoff.remaining > 0
        )
