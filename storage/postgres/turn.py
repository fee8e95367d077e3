"""The order in which the batches of one store are decided.

Two connections write, so that a batch can be decided while the one before it is being stored. The
later batch has to know what the earlier one will leave behind, or it would be decided on a log
that is no longer so. Hence one batch at a time has the turn to be decided. It passes the turn on,
with what it leaves behind, as soon as it is decided, long before it is committed.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import uuid4

from storage.deduplication import Decision, Head
from storage.model import StoredEvent


class PendingAppend(NamedTuple):
    """An append that is decided and not committed yet: what it will leave behind.

    Args:
        append_id: its id, a UUID, which the rows of its topics will bear.
        previous_ids: the id that the row of each of its topics bore when it was decided.
        heads: the head offset of each of its topics afterwards.
        rows: the new events.
    """

    append_id: str
    previous_ids: Mapping[str, str | None]
    heads: Mapping[str, int]
    rows: Sequence[StoredEvent]

    @classmethod
    def of(
        cls,
        decision: Decision,
        heads: Mapping[str, Head],
        previous_ids: Mapping[str, str | None],
    ) -> "PendingAppend":
        """Make the pending append of a decision.

        Args:
            decision: verdicts, rows and counts of the batch.
            heads: the head of each topic that it was decided on.
            previous_ids: the id of the append that wrote each topic's row last.
        """
        return cls(
            str(uuid4()),
            previous_ids,
            {
                topic: heads[topic].offset + counts.unique_processed
                for topic, counts in decision.counts.items()
            },
            decision.rows,
        )


NOTHING_PENDING = PendingAppend("", {}, {}, ())


class Turn:
    """The turn of one batch to be decided; made by `TurnQueue`."""

    def __init__(self, queue: "TurnQueue") -> None:
        self._queue = queue
        self._mine: PendingAppend | None = None
        self.is_held = True
        """Whether the next batch still has to wait."""

    @property
    def previous(self) -> PendingAppend:
        """The append that was decided last and may be under way still; else one of nothing."""
        return self._queue.pending or NOTHING_PENDING

    def pass_on(self, pending: PendingAppend) -> None:
        """Let the next batch be decided, on what this one leaves behind if it is committed."""
        self._queue.pending = self._mine = pending
        self.release()

    def release(self) -> None:
        """Let the next batch begin, although it can't know what this one leaves behind.

        Does nothing if the turn was passed on.
        """
        if self.is_held:
            self.is_held = False
            self._queue.lock.release()

    def end(self) -> None:
        """End the turn: the batch is committed, or will never be."""
        if self._queue.pending is self._mine:
            # Nothing is gained by it now, and its events would stay in memory.
            self._queue.pending = None
        self.release()


class TurnQueue:
    """Batches of one store, each waiting for its turn to be decided, first come, first served."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.pending: PendingAppend | None = None
        """What was passed on last, until its batch has ended."""

    @asynccontextmanager
    async def next_turn(self) -> AsyncGenerator[Turn, None]:
        """Wait for a turn, which ends with the context at the latest."""
        await self.lock.acquire()
        turn = Turn(self)
        try:
            yield turn
        finally:
            turn.end()
