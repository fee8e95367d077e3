"""Commands of subscriptions that stop behind their look, and writers that look too early."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import pytest

from storage.migrations import migrations
from storage.postgres import subscriptions as postgres_subscriptions
from storage.postgres.subscription_loading import load as load_from_postgres
from storage.sqlite import subscriptions as sqlite_subscriptions
from storage.sqlite.subscription_loading import load as load_from_sqlite
from storage.sqlite.writer import SqliteWriter
from storage.subscriptions.commands import Command
from storage.subscriptions.decisions import Decisions
from storage.subscriptions.outcomes import Outcome
from storage.subscriptions.workspace import needs
from support.observer import Observer
from support.scene import Scene

LIMIT_S = 20.0

_FUNCTION = "change_subscriptions_v7"
_CHECKS = {
    "IF number <> cardinality(topic_ids) THEN": "IF false THEN",
    "IF missing_ids <> '{}' AND EXISTS (": "IF false AND EXISTS (",
}


class StoppedLook:
    """The first look of commands at what is kept, which stops behind it; an async context manager.

    Args:
        scene: of whose stores.
        ahead_s: how far the clock is ahead for whoever looks after it, in seconds.
    """

    def __init__(self, scene: Scene, ahead_s: int = 0) -> None:
        self._scene = scene
        self._ahead_us = ahead_s * 10**6
        self._patch = pytest.MonkeyPatch()
        self._loop = asyncio.get_running_loop()
        self._looked = asyncio.Event()
        self._second = asyncio.Event()
        self._go = threading.Event()
        self._gone = asyncio.Event()
        self._calls = 0
        self._has_stopped = False

    async def __aenter__(self) -> Self:
        if self._scene.backend == "sqlite":
            apply, look = SqliteWriter.apply, load_from_sqlite
            self._patch.setattr(SqliteWriter, "apply", self._noted(apply))
            self._patch.setattr(sqlite_subscriptions, "load", self._stopped(look))
        else:

            async def stopped(*arguments: Any) -> Any:
                read = await load_from_postgres(*arguments)
                if not self._looked.is_set():
                    self._looked.set()
                    await self._gone.wait()
                else:
                    read.loaded.now_us += self._ahead_us
                return read

            self._patch.setattr(postgres_subscriptions, "load", stopped)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go_on()
        self._patch.undo()

    def _noted(self, apply: Callable[..., Any]) -> Callable[..., Any]:
        def noted(writer: SqliteWriter, commands: Sequence[Command]) -> Any:
            self._calls += 1
            if self._calls > 1:
                self._loop.call_soon_threadsafe(self._second.set)
            return apply(writer, commands)

        return noted

    def _stopped(self, look: Callable[..., Any]) -> Callable[..., Any]:
        def stopped(*arguments: Any) -> Any:
            loaded = look(*arguments)
            if not self._has_stopped:
                self._has_stopped = True
                self._loop.call_soon_threadsafe(self._looked.set)
                assert self._go.wait(LIMIT_S)
            else:
                loaded.now_us += self._ahead_us
            return loaded

        return stopped

    async def reached(self) -> None:
        """Wait until somebody has looked, and stopped."""
        async with asyncio.timeout(LIMIT_S):
            await self._looked.wait()

    async def others_wait(self) -> None:
        """Wait until somebody else is about to ask for the lock of the SQLite file."""
        async with asyncio.timeout(LIMIT_S):
            await self._second.wait()

    def go_on(self) -> None:
        """Let the one that has stopped go on."""
        self._go.set()
        self._gone.set()


async def overtaken(
    scene: Scene,
    first: Command,
    between: Callable[[], Any],
    *,
    early: bool,
    ahead_s: int = 0,
) -> Outcome:
    """Have A do a command, and something else be done while it has looked and not written.

    Args:
        scene: the stores.
        first: the command.
        between: does what is done meanwhile.
        early: whether A has looked without the lock, where a look is made under one.
        ahead_s: how far the clock is ahead then, in seconds.
    """
    async with StoppedLook(scene, ahead_s) as look, asyncio.timeout(LIMIT_S):
        overtaken = asyncio.create_task(scene.a.apply([first]))
        await look.reached()
        overtaking = asyncio.create_task(between())
        if scene.backend == "sqlite" and not early:
            await look.others_wait()
        else:
            await overtaking
        look.go_on()
        (outcome,) = await overtaken
        await overtaking
        return outcome


async def look_too_early(scene: Scene) -> None:
    """No lock, no comparison: what is decided on a look is written, whatever was done since."""
    if scene.backend == "postgres":
        await _compare_no_rows(scene.observer)
        return
    path = scene.database.path

    def apply(writer: SqliteWriter, commands: Sequence[Command]) -> Any:
        with sqlite3.connect(path, isolation_level=None) as connection:
            # It may be one that stops.
            look = sqlite_subscriptions.load  # type: ignore[attr-defined]
            loaded = look(connection, needs(commands))
        connection.close()
        decisions = Decisions(loaded)
        outcomes = [decisions.decide(command) for command in commands]

        def write(under_lock: sqlite3.Connection) -> list[Outcome]:
            sqlite_subscriptions._write(under_lock, decisions.changes, loaded)
            return outcomes

        return writer._flush.run(write)

    scene.patch.setattr(SqliteWriter, "apply", apply)


async def _compare_no_rows(observer: Observer) -> None:
    create = f"CREATE FUNCTION {_FUNCTION}"
    (sql,) = [step.sql for step in migrations("postgres") if create in step.sql]
    function = sql[sql.index(create) :].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
    for check, weaker in _CHECKS.items():
        assert function.count(check) == 1
        function = function.replace(check, weaker)
    await observer.connection.execute(function)
