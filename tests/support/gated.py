"""Connections whose statements stop at the gate of an `Interleaving` before they run."""

import asyncio
import sqlite3
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from storage.postgres import locked_append as postgres_locked_append
from storage.postgres import optimistic_append as postgres_optimistic_append
from storage.sqlite import transaction as sqlite_transaction

if TYPE_CHECKING:
    from support.interleaving import Interleaving, Publisher

_NAMES = ("BEGIN", "LOCK_TOPICS", "_HEADS", "PROBE", "_INSERT", "COUNT", "STORE")
_OPTIMISTIC_NAMES = ("PROBE_WITH_TOPICS", "STORE_IF_UNCHANGED")
_OPEN_GATE_TIMEOUT_MS = 20_000


def _name(module: ModuleType, sql: str) -> str:
    for name in _NAMES:
        text = getattr(module, name, None)
        if text is not None and (sql == text or (name == "_INSERT" and sql.startswith(text))):
            return name.removeprefix("_")
    return sql.split(maxsplit=1)[0]


def _postgres_name(sql: str) -> str:
    for name in _OPTIMISTIC_NAMES:
        if sql == getattr(postgres_optimistic_append, name):
            return name
    return _name(postgres_locked_append, sql)


class GatedPostgres:
    """An asyncpg connection whose statements stop at the gate."""

    def __init__(self, gate: "Interleaving", publisher: "Publisher", connection: Any) -> None:
        self._gate = gate
        self._publisher = publisher
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if name not in {"execute", "fetch", "fetchval", "fetchrow"}:
            return found

        async def gated(sql: str, *arguments: object) -> Any:
            await self._gate.stop(self._publisher, _postgres_name(sql))
            return await found(sql, *arguments)

        return gated


class GatedSqlite:
    """A sqlite3 connection whose statements stop at the gate; used in the writer's thread."""

    def __init__(
        self, gate: "Interleaving", publisher: "Publisher", connection: sqlite3.Connection
    ) -> None:
        self._gate = gate
        self._publisher = publisher
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        return not self._publisher.crashed and self._connection.in_transaction

    def _in_loop(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._gate.loop).result()

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> sqlite3.Cursor:
        self._in_loop(self._gate.stop(self._publisher, _name(sqlite_transaction, sql)))
        if self._publisher.crashed:
            self._connection.close()
            raise sqlite3.OperationalError("the process ended here")
        while True:
            try:
                cursor = self._connection.execute(sql, arguments)
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
                if not busy or self._connection.in_transaction:
                    raise
                if self._gate.open_gate:
                    self._connection.execute(f"PRAGMA busy_timeout = {_OPEN_GATE_TIMEOUT_MS}")
                else:
                    self._in_loop(self._gate.stop_refused(self._publisher))
                continue
            if not self._connection.in_transaction:
                self._gate.loop.call_soon_threadsafe(self._gate.wake_blocked)
            return cursor
