"""Storage faults by schedule: the n-th transaction of a real store fails in the n-th way drawn.

The connection that a writer module gets is wrapped. Wherever the database itself can be made
to fail, it does: Postgres raises errors and loses its connection, SQLite is interrupted or
refuses a row. What is played is only SQLite's failure to write, and an answer to COMMIT that
does not arrive.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from enum import Enum, auto
from types import TracebackType
from typing import Any, NamedTuple, Self

import pytest

from storage.errors import StorageUnavailable
from storage.model import Appended, Event, Verdict
from storage.postgres import locked_append as postgres_locked_append
from storage.postgres.appender import Appender
from storage.postgres.optimistic_append import STORE_IF_UNCHANGED
from storage.postgres.turn import Turn
from storage.sqlite import transaction as sqlite_transaction
from support.reference import Reference, Told

_LIMIT_S = 30.0
_POSTGRES_FAILS = "DO $$ BEGIN RAISE EXCEPTION 'by schedule' USING ERRCODE = '40001'; END $$"
_POSTGRES_REFUSES = "SELECT 1 / 0"
_SQLITE_REFUSES = "INSERT INTO topics VALUES (NULL, 0, 0, 0, 0, 0)"


class Kind(Enum):
    """What may happen to a transaction."""

    FINE = auto()
    OUT_OF_REACH = auto()
    """Before its first statement."""
    FAILS = auto()
    """A statement ends in an error that has nothing to do with the batch."""
    REFUSED = auto()
    """A statement ends in an error that the batch may be to blame for."""
    CUT = auto()
    """The connection is lost before a statement, COMMIT included."""
    ANSWER_LOST = auto()
    """COMMIT is done, and its answer is lost."""
    STOPPED = auto()
    """The aggregator's time to drain is over before a statement: the append is cancelled."""


class Fault(NamedTuple):
    """What happens, and before which statement (from 0, BEGIN); a slow one lets others go on."""

    kind: Kind = Kind.FINE
    statement: int = 0
    slow: bool = False


class ScheduledFaults:
    """Faults for the writers of both backends; use as an async context manager.

    It sees every COMMIT that was done, plays the same batches on a `Reference`, and so knows
    exactly what is stored. Each event object must be sent in one attempt only.

    Args:
        schedule: one fault a transaction; after the last one nothing fails.
        on_stop: called when a `STOPPED` append is to be cancelled.
    """

    def __init__(self, schedule: Sequence[Fault], on_stop: Callable[[], None]) -> None:
        self._faults: Iterator[Fault] = iter(schedule)
        self._on_stop = on_stop
        self._loop = asyncio.get_running_loop()
        self._patch = pytest.MonkeyPatch()
        self._stopped = threading.Event()
        self._commits: list[_Commit] = []
        """Those that the server has answered before one that it did earlier."""
        self._committed: dict[int, tuple[Event, Told]] = {}
        self.committed_twice: list[Event] = []
        """Of one attempt; whoever stored it again may take the assertion for a failure to store."""
        self.reference = Reference()

    async def __aenter__(self) -> Self:
        self._sqlite_append = sqlite_transaction.append
        postgres_append = Appender.append
        self._patch.setattr(sqlite_transaction, "append", self._on_sqlite)

        async def on_postgres(
            appender: Appender, connection: Any, batch: Sequence[Event], turn: Turn
        ) -> Appended:
            fault = next(self._faults, Fault())
            if fault.kind is Kind.OUT_OF_REACH:
                raise StorageUnavailable("by schedule")
            failing: Any = _FailingPostgres(self, fault, connection, batch)
            return await postgres_append(appender, failing, batch, turn)

        self._patch.setattr(Appender, "append", on_postgres)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._patch.undo()
        self._stopped.set()

    def stop_is_done(self) -> None:
        """The append was cancelled: a thread that goes on regardless may do so now."""
        self._stopped.set()

    def told(self, event: Event) -> Told | None:
        """What the commit of this very event object decided; None if it was not committed."""
        known = self._committed.get(id(event))
        return known[1] if known else None

    def note_commit(self, batch: Sequence[Event]) -> None:
        for event, told in zip(batch, self.reference.publish(batch), strict=True):
            if id(event) in self._committed:
                self.committed_twice.append(event)
                raise AssertionError(f"an attempt was committed twice: {event}")
            self._committed[id(event)] = (event, told)

    async def note_in_order(self, commit: "_Commit") -> None:
        """Note a commit once everything is noted that was committed in its topics before.

        The server answers several connections in any order. But a batch that stores something
        was decided on the very head of its topic, and one that stores nothing will be told the
        same at any later time.
        """
        self._commits.append(commit)
        while due := next((one for one in self._commits if one.is_due(self.reference)), None):
            self._commits.remove(due)
            self.note_commit(due.batch)
            due.noted.set()
        async with asyncio.timeout(_LIMIT_S):
            await commit.noted.wait()

    def stop_and_wait(self) -> None:
        """From SQLite's thread: have the append cancelled, and come back when it is."""
        self._stopped.clear()
        self._loop.call_soon_threadsafe(self._on_stop)
        assert self._stopped.wait(_LIMIT_S)

    async def stop(self) -> None:
        """From the event loop: have the append cancelled."""
        self._on_stop()
        await asyncio.sleep(_LIMIT_S)

    def _on_sqlite(self, connection: sqlite3.Connection, batch: Sequence[Event]) -> list[Verdict]:
        fault = next(self._faults, Fault())
        if fault.kind is Kind.OUT_OF_REACH:
            raise StorageUnavailable("by schedule")
        failing: Any = _FailingSqlite(self, fault, connection, batch)
        return self._sqlite_append(failing, batch)


class _Commit(NamedTuple):
    """What was committed: a batch, and of each topic the head before it and what it added."""

    batch: Sequence[Event]
    heads: dict[str, int]
    added: dict[str, int]
    noted: asyncio.Event

    def is_due(self, reference: Reference) -> bool:
        """Whether what was committed before it is known to the reference."""
        found = {topic: len(reference.logs.get(topic, [])) for topic in self.heads}
        return all(
            found[topic] == head if self.added[topic] else found[topic] >= head
            for topic, head in self.heads.items()
        )


class _Failing:
    """A connection that counts its statements."""

    def __init__(
        self, faults: ScheduledFaults, fault: Fault, connection: Any, batch: Sequence[Event]
    ) -> None:
        self._faults = faults
        self._fault = fault
        self._connection = connection
        self._batch = batch
        self._next = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def _due(self, sql: str) -> Kind:
        """What happens before this statement."""
        self._next += 1
        if self._fault.kind is Kind.ANSWER_LOST:
            return Kind.ANSWER_LOST if sql in {"COMMIT", STORE_IF_UNCHANGED} else Kind.FINE
        # A rollback that fails as well is the same as a connection that is lost.
        due = self._next == self._fault.statement + 1 and sql != "ROLLBACK"
        return self._fault.kind if due else Kind.FINE


class _FailingPostgres(_Failing):
    _heads: dict[str, int]
    _added: dict[str, int]

    async def execute(self, sql: str, *arguments: Any) -> Any:
        due = await self._before(sql)
        if sql == postgres_locked_append.STORE:
            topics, _, added, *_ = arguments
            self._added = dict(zip(topics, added, strict=True))
        answer = self._connection.execute(sql, *arguments)
        return await (self._commit(due, answer) if sql == "COMMIT" else answer)

    async def fetch(self, sql: str, *arguments: object) -> Any:
        await self._before(sql)
        rows = await self._connection.fetch(sql, *arguments)
        if sql == postgres_locked_append.LOCK_TOPICS:
            self._heads = {topic: head for topic, head, *_ in rows}
        return rows

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        due = await self._before(sql)
        answer = self._connection.fetchval(sql, *arguments)
        if sql != STORE_IF_UNCHANGED:
            return await answer
        topics, _, heads, _, _, added, *_ = arguments
        names = topics.split("\x1f")
        self._heads = dict(zip(names, _integers(heads), strict=True))
        self._added = dict(zip(names, _integers(added), strict=True))
        return await self._commit(due, answer)

    async def _commit(self, due: Kind, answer: Coroutine[Any, Any, Any]) -> Any:
        # Another batch's stop may cancel this one too: what has become of it must be known.
        committing = asyncio.create_task(self._commit_and_note(answer))
        try:
            answered = await asyncio.shield(committing)
        finally:
            await asyncio.wait([committing])
        if due is Kind.ANSWER_LOST:
            self._connection.terminate()
            raise ConnectionResetError("by schedule")
        return answered

    async def _commit_and_note(self, answer: Coroutine[Any, Any, Any]) -> Any:
        answered = await answer
        if answered is not None:
            await self._faults.note_in_order(
                _Commit(self._batch, self._heads, self._added, asyncio.Event())
            )
        return answered

    async def _before(self, sql: str) -> Kind:
        due = self._due(sql)
        if self._fault.slow:
            await asyncio.sleep(0)
        if due is Kind.FAILS:
            await self._connection.execute(_POSTGRES_FAILS)
        elif due is Kind.REFUSED:
            await self._connection.execute(_POSTGRES_REFUSES)
        elif due is Kind.CUT:
            self._connection.terminate()
        elif due is Kind.STOPPED:
            await self._faults.stop()
        return due


class _FailingSqlite(_Failing):
    def execute(self, sql: str, *arguments: Any) -> Any:
        due = self._due(sql)
        if self._fault.slow:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._faults._loop).result()
        if due is Kind.FAILS:
            self._connection.set_progress_handler(lambda: 1, 1)
        elif due is Kind.REFUSED:
            self._connection.execute(_SQLITE_REFUSES)
        elif due is Kind.CUT:
            raise _disk_failed()
        elif due is Kind.STOPPED:
            self._faults.stop_and_wait()
        try:
            cursor = self._connection.execute(sql, *arguments)
        finally:
            self._connection.set_progress_handler(None, 0)
        if sql == "COMMIT":
            self._faults.note_commit(self._batch)
        if due is Kind.ANSWER_LOST:
            raise _disk_failed()
        return cursor


def _disk_failed() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error by schedule")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    return error


def _integers(array: str) -> list[int]:
    return [int(number) for number in array.strip("{}").split(",")]
