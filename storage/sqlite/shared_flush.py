"""Transactions of events and of commands, which share a flush to disk where both are there.

A small batch of events is stored in the transaction of the commands that wait, the events ahead, so
that a lease finds them. A large batch takes long: commands have a transaction of their own ahead of
it. What fails of a shared transaction costs the other part nothing, for both are begun anew, each
alone.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from storage.model import Appended, Event, Verdict
from storage.sqlite import transaction as sqlite_transaction
from storage.sqlite.connection import GuardedConnection
from storage.sqlite.write_turn import Errand, WriteTurn

MAX_SHARED_EVENTS = 512
"""Events of a batch that commands wait for, at most: some milliseconds."""

Result = TypeVar("Result")


class Write(Protocol):
    """Does work on the connection that writes, guarded; called with the turn to write."""

    def __call__(self, work: Callable[[GuardedConnection], Result], /) -> Result:
        """Do it once."""
        ...


class SharedFlush:
    """The transactions of a writer.

    Args:
        turn: the turn to write.
        write: does their work.
        committed: callback when something was committed that nobody but the caller knows of.
    """

    def __init__(self, turn: WriteTurn, write: Write, committed: Callable[[], object]) -> None:
        self._turn = turn
        self._write = write
        self._committed = committed

    def append(self, batch: Sequence[Event]) -> Appended:
        """Store a batch, and do what waits; called with the turn.

        Raises:
            StorageError: see `EventAppender.append`; what waited has an outcome of its own.
        """
        errand = self._turn.take_errand()
        if errand is None:
            return self._store(batch)
        if len(batch) > MAX_SHARED_EVENTS:
            self._do(errand)
            return self._store(batch)
        return self._store_and_do(batch, errand)

    def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do work in a transaction, shared or not; called without the turn, from any thread.

        Args:
            work: does it on the connection that writes; called again if that was rolled back.

        Raises:
            StorageError: see `SubscriptionStore.apply`.
        """
        return self._turn.run(Errand(work), self._do)

    def _store(self, batch: Sequence[Event]) -> Appended:
        return self._write(
            lambda writer: Appended(sqlite_transaction.append(writer, batch), writer.commit_s)
        )

    def _do(self, errand: Errand[Any]) -> None:
        try:
            result = self._write(
                lambda writer: sqlite_transaction.transact(writer, lambda: errand.work(writer))
            )
        except BaseException as error:  # noqa: BLE001 - who waits for it has to deal with it
            self._turn.fail(errand, error)
        else:
            self._turn.finish(errand, result)
            self._committed()

    def _store_and_do(self, batch: Sequence[Event], errand: Errand[Any]) -> Appended:
        both = _Both(batch, errand)
        try:
            verdicts, result, commit_s = self._write(both.run)
        except BaseException as error:
            if both.failed is None:
                # BEGIN or COMMIT: what it means for the one it means for the other.
                self._turn.fail(errand, error)
                raise
            try:
                if both.failed is batch:
                    raise
                return self._store(batch)
            finally:
                self._do(errand)
        self._turn.finish(errand, result)
        return Appended(verdicts, commit_s)


class _Both:
    """A transaction of a batch and an errand."""

    def __init__(self, batch: Sequence[Event], errand: Errand[Any]) -> None:
        self._batch = batch
        self._errand = errand
        self.failed: object = None
        """The one of them that has failed."""

    def run(self, writer: GuardedConnection) -> tuple[list[Verdict], Any, float]:
        verdicts, result = sqlite_transaction.transact(writer, lambda: self._both(writer))
        return verdicts, result, writer.commit_s

    def _both(self, writer: sqlite3.Connection) -> tuple[list[Verdict], Any]:
        self.failed = self._batch
        verdicts = sqlite_transaction.store(writer, self._batch)
        self.failed = self._errand
        result = self._errand.work(writer)
        self.failed = None
        return verdicts, result
