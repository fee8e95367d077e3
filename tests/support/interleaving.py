"""Runs several appends at once, but only one statement at a time, in an order the test decides.

The connection that a writer module gets is wrapped: each statement waits at a gate until the
test lets it through. After every step each append has stopped at its next statement, has
ended, or waits for a lock that another one holds; which of these is asked of the database and
never guessed from the time that passes.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from types import ModuleType, TracebackType
from typing import Any, Self

import asyncpg
import pytest

from storage.errors import StorageError
from storage.model import Appended, Event, Verdict
from storage.postgres import locked_append as postgres_locked_append
from storage.postgres.appender import Appender
from storage.postgres.turn import Turn
from storage.protocols import EventStore
from storage.sqlite import transaction as sqlite_transaction
from support.backends import Database
from support.gated import GatedPostgres, GatedSqlite
from support.unprotected import lock_first

LIMIT_S = 20.0
_LOOK_AGAIN_S = 0.002

Outcome = Appended | StorageError


class State(Enum):
    """Where an append is."""

    RUNNING = "running"
    STOPPED = "stopped at a statement"
    BLOCKED = "waiting for a lock"
    ENDED = "ended"


class Publisher:
    """One store and the batches it appends, one after the other."""

    def __init__(self, name: str, store: EventStore, batches: Sequence[Sequence[Event]]) -> None:
        self.name = name
        self.store = store
        self.batches = batches
        self.state = State.RUNNING
        self.statement = ""
        self.outcomes: list[Outcome] = []
        self.go = asyncio.Event()
        self.pid = 0
        self.turn: Turn | None = None
        self.crashed = False
        self.task: asyncio.Task[None] | None = None

    async def publish(self) -> None:
        # Cancelled, it ends here; what it was told so far stays.
        with suppress(asyncio.CancelledError):
            for batch in self.batches:
                try:
                    self.outcomes.append(await self.store.append(batch))
                except StorageError as error:
                    self.outcomes.append(error)
        self.state = State.ENDED
        self.statement = ""


class Interleaving:
    """The gate, and the publishers that stand before it; use as an async context manager.

    Args:
        database: what the stores are on.
        optimistic: whether batches on Postgres are decided before their topics are locked.
    """

    def __init__(self, database: Database, *, optimistic: bool = False) -> None:
        self._database = database
        self._optimistic = optimistic
        self._patch = pytest.MonkeyPatch()
        self._publishers: dict[str, Publisher] = {}
        self.loop = asyncio.get_running_loop()
        self._observer: asyncpg.Connection | None = None
        self.open_gate = False

    async def __aenter__(self) -> Self:
        if self._database.backend == "sqlite":
            self._gate(sqlite_transaction, self._sqlite_append)
        else:
            self._observer = await asyncpg.connect(self._database.dsn)
            if self._optimistic:
                self._gate_appender()
            else:
                lock_first(self._patch)
                self._gate(postgres_locked_append, self._postgres_append)
        return self

    def _gate(self, module: ModuleType, append: Callable[..., Any]) -> None:
        self._original = module.append
        self._patch.setattr(module, "append", append)

    def _gate_appender(self) -> None:
        original = Appender.append

        async def append(
            appender: Appender, connection: Any, batch: Sequence[Event], turn: Turn
        ) -> Appended:
            publisher = self._whose(batch)
            publisher.pid = connection.get_server_pid()
            publisher.turn = turn
            publisher.state = State.RUNNING
            gated: Any = GatedPostgres(self, publisher, connection)
            try:
                return await original(appender, gated, batch, turn)
            finally:
                publisher.turn = None

        self._patch.setattr(Appender, "append", append)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Whatever the test did, every append runs to its end.
        self._patch.undo()
        self.open_gate = True
        for publisher in self._publishers.values():
            publisher.go.set()
        tasks = [p.task for p in self._publishers.values() if p.task is not None]
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*tasks, return_exceptions=error is not None)
        if self._observer is not None:
            await self._observer.close()

    # What a test does.

    async def start(self, name: str, store: EventStore, *batches: Sequence[Event]) -> None:
        """Let a publisher go as far as its first statement."""
        publisher = Publisher(name, store, batches)
        self._publishers[name] = publisher
        publisher.task = asyncio.create_task(publisher.publish(), name=name)
        await self._settle()

    async def step(self, name: str) -> None:
        """Let one statement of a publisher through, and see where everybody comes to stand."""
        publisher = self._publishers[name]
        assert publisher.state is State.STOPPED, (name, publisher.state)
        publisher.state = State.RUNNING
        publisher.go.set()
        await self._settle()

    async def until(self, name: str, statement: str) -> None:
        """Step a publisher until it stands before this statement (`"PROBE"`, `"COMMIT"`, ...)."""
        while self._publishers[name].statement != statement:
            await self.step(name)

    async def finish(self, name: str) -> list[Outcome]:
        """Step a publisher to its end, or to where it is blocked."""
        while self._publishers[name].state is State.STOPPED:
            await self.step(name)
        return self._publishers[name].outcomes

    async def crash(self, name: str) -> list[Outcome]:
        """End a publisher's connection, with the transaction in it, as a dying process does."""
        publisher = self._publishers[name]
        if self._observer is not None:
            await self._observer.execute("SELECT pg_terminate_backend($1, 10000)", publisher.pid)
        publisher.crashed = True
        return await self.finish(name)

    async def cancel(self, name: str) -> None:
        """Cancel a publisher where it stands, as a client that hangs up may do."""
        publisher = self._publishers[name]
        assert publisher.task is not None
        publisher.state = State.RUNNING
        publisher.statement = ""
        publisher.task.cancel()
        await self._settle()

    async def until_unblocked(self, *names: str) -> None:
        """Wait until the database has ended the wait for a lock of one of these publishers."""
        async with asyncio.timeout(LIMIT_S):
            while all(self._publishers[name].state is State.BLOCKED for name in names):
                await asyncio.sleep(_LOOK_AGAIN_S)
                await self._settle()

    def state(self, name: str) -> State:
        """Where a publisher is."""
        return self._publishers[name].state

    def statement(self, name: str) -> str:
        """What a publisher stands before; "" once it has ended."""
        return self._publishers[name].statement

    def outcomes(self, name: str) -> list[Outcome]:
        """What became of a publisher's batches, as far as it has come."""
        return self._publishers[name].outcomes

    def names(self, state: State) -> list[str]:
        """The publishers that are in this state."""
        return [name for name, p in self._publishers.items() if p.state is state]

    # How a statement stops.

    async def stop(self, publisher: Publisher, statement: str) -> None:
        if self.open_gate:
            return
        publisher.go.clear()
        publisher.statement = statement
        publisher.state = State.STOPPED
        await publisher.go.wait()

    def _whose(self, batch: Sequence[Event]) -> Publisher:
        return next(p for p in self._publishers.values() if any(b is batch for b in p.batches))

    async def _postgres_append(
        self, connection: Any, batch: Sequence[Event], turn: Turn, **options: Any
    ) -> Appended:
        publisher = self._whose(batch)
        publisher.pid = connection.get_server_pid()
        appended: Appended = await self._original(
            GatedPostgres(self, publisher, connection), batch, turn, **options
        )
        return appended

    def _sqlite_append(
        self, connection: sqlite3.Connection, batch: Sequence[Event]
    ) -> list[Verdict]:
        publisher = self._whose(batch)
        # The gate is the busy handler: BEGIN is tried again whenever another one has ended.
        connection.execute("PRAGMA busy_timeout = 0")
        gated = GatedSqlite(self, publisher, connection)
        verdicts: list[Verdict] = self._original(gated, batch)
        return verdicts

    # Where everybody stands.

    async def _settle(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            while await self._anybody_running():  # noqa: ASYNC110 - the database has no event for it
                await asyncio.sleep(_LOOK_AGAIN_S)

    async def _anybody_running(self) -> bool:
        before = [publisher.state for publisher in self._publishers.values()]
        await self._look_where_they_are()
        after = [publisher.state for publisher in self._publishers.values()]
        # Whoever was seen blocked may have been let go by one that was looked at later.
        return State.RUNNING in after or after != before

    async def _look_where_they_are(self) -> None:
        for publisher in self._publishers.values():
            if publisher.state in {State.RUNNING, State.BLOCKED} and self._observer is not None:
                blockers = await self._observer.fetchval(
                    "SELECT pg_blocking_pids($1)", publisher.pid
                ) or self._waits_for_its_turn(publisher)
                # It may have gone on while the database was asked.
                if publisher.state in {State.RUNNING, State.BLOCKED}:
                    publisher.state = State.BLOCKED if blockers else State.RUNNING
            task = publisher.task
            if task is not None and task.done() and publisher.state is not State.ENDED:
                task.result()

    def _waits_for_its_turn(self, publisher: Publisher) -> bool:
        """Another batch of the same store is not decided yet."""
        others = (p for p in self._publishers.values() if p.store is publisher.store)
        return publisher.turn is None and any(
            other.turn is not None and other.turn.is_held for other in others
        )

    def wake_blocked(self) -> None:
        """A transaction ended on SQLite: whoever was refused the lock tries again."""
        for publisher in self._publishers.values():
            if publisher.state is State.BLOCKED:
                publisher.state = State.RUNNING
                publisher.go.set()

    async def stop_refused(self, publisher: Publisher) -> None:
        """SQLite said "busy" to a BEGIN: wait until somebody's transaction ends."""
        publisher.go.clear()
        publisher.state = State.BLOCKED
        await publisher.go.wait()
