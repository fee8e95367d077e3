"""The real aggregator with one protection taken away, as a process of its own.

`python -m support.doctored PROTECTION ARGUMENTS...`
"""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aggregator.__main__ import main
from storage import backends
from storage.model import Appended, Event, Verdict
from storage.postgres import locked_append as postgres_locked_append
from storage.postgres.commit import commit
from storage.postgres.store import PostgresStore
from storage.sqlite import transaction as sqlite_transaction
from support import doctored_subscriptions, unprotected
from support.in_process import InProcessStore

_A_WHILE_S = 0.05
_committing: set[asyncio.Task[None]] = set()
"""Keeps the tasks from being collected on the way."""


def acknowledge_first(backend: str, patch: pytest.MonkeyPatch) -> None:
    """The verdicts are given out just before the COMMIT, which takes its time."""
    if backend == "sqlite":
        patch.setattr(InProcessStore, "append", _sqlite_append)
    else:
        patch.setattr(PostgresStore, "append", _postgres_append)


async def _sqlite_append(self: Any, batch: Sequence[Event]) -> Appended:
    loop = asyncio.get_running_loop()
    told: asyncio.Future[list[Verdict]] = loop.create_future()

    def transaction() -> None:
        connection = self.writer._connection
        connection.execute(sqlite_transaction.BEGIN)
        decision = sqlite_transaction._write(connection, batch)
        loop.call_soon_threadsafe(told.set_result, decision.verdicts)
        time.sleep(_A_WHILE_S)
        connection.execute("COMMIT")

    loop.run_in_executor(self._appends, transaction)
    return Appended(await told, 0.0)


async def _postgres_append(self: Any, batch: Sequence[Event]) -> Appended:
    told: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()

    async def transaction() -> None:
        async with self._turns.next_turn() as turn, self._writer() as connection:
            await connection.execute(postgres_locked_append.BEGIN)
            decision = await postgres_locked_append._write(connection, batch, turn)
            told.set_result(Appended(decision.verdicts, 0.0))
            await asyncio.sleep(_A_WHILE_S)
            await connection.execute("COMMIT")

    committing = asyncio.create_task(transaction())
    _committing.add(committing)
    committing.add_done_callback(_committing.discard)
    return await told


def count_afterwards(backend: str, patch: pytest.MonkeyPatch) -> None:
    """The counts are written in a transaction of their own, on Postgres a while later."""

    async def commit_and_wait(connection: Any) -> None:
        await commit(connection)
        await asyncio.sleep(_A_WHILE_S)

    patch.setattr(postgres_locked_append, "commit", commit_and_wait)
    unprotected.count_afterwards(backend, patch)


_PROTECTIONS: dict[str, Callable[[str, pytest.MonkeyPatch], None]] = {
    "acknowledge_first": acknowledge_first,
    "count_afterwards": count_afterwards,
    "answer_settles_first": doctored_subscriptions.answer_settles_first,
    "forget_leases": doctored_subscriptions.forget_leases,
    "pass_over_what_ran_out": doctored_subscriptions.pass_over_what_ran_out,
}


def store_in_this_process(
    path: Path, *, busy_timeout_ms: int, **_options: object
) -> InProcessStore:
    """In place of the process of its own, which nothing here could reach into."""
    return InProcessStore(path, busy_timeout_s=busy_timeout_ms / 1000)


if __name__ == "__main__":
    backend = sys.argv[sys.argv.index("--backend") + 1]
    patch = pytest.MonkeyPatch()
    patch.setattr(backends, "sqlite_store", store_in_this_process)
    _PROTECTIONS[sys.argv[1]](backend, patch)
    raise SystemExit(main(sys.argv[2:]))
