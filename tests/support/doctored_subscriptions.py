"""Subscriptions with one protection taken away, for `support.doctored`."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from storage.postgres import subscriptions as postgres_subscriptions
from storage.postgres.session import own
from storage.postgres.store import PostgresStore
from storage.postgres.subscription_changes import CHANGE, change_arguments
from storage.postgres.subscription_loading import load
from storage.sqlite import subscriptions as sqlite_subscriptions
from storage.sqlite import transaction as sqlite_transaction
from storage.subscriptions import consuming
from storage.subscriptions.commands import Command, Settle
from storage.subscriptions.deliveries import RunOut, run_out
from storage.subscriptions.leasing import Draft
from storage.subscriptions.model import SubscriptionSettings, TopicState
from storage.subscriptions.outcomes import Outcome
from storage.subscriptions.workspace import needs
from support.in_process import InProcessStore

_A_WHILE_S = 0.05
_committing: set[asyncio.Task[None]] = set()
"""Keeps the tasks from being collected on the way."""


def answer_settles_first(backend: str, patch: pytest.MonkeyPatch) -> None:
    """Settles are answered just before the COMMIT, which takes its time."""
    if backend == "sqlite":
        patch.setattr(InProcessStore, "apply", _sqlite_apply)
    else:
        patch.setattr(PostgresStore, "apply", _postgres_apply)


def _settle(commands: Sequence[Command]) -> bool:
    return all(isinstance(each, Settle) for each in commands)


async def _sqlite_apply(self: Any, commands: Sequence[Command]) -> list[Outcome]:
    loop = asyncio.get_running_loop()
    told: asyncio.Future[list[Outcome]] = loop.create_future()

    def transaction() -> None:
        with self.writer._lock:
            connection = self.writer._connection
            connection.execute(sqlite_transaction.BEGIN)
            outcomes = sqlite_subscriptions.apply(connection, commands)
            if _settle(commands):
                loop.call_soon_threadsafe(told.set_result, outcomes)
                time.sleep(_A_WHILE_S)
            connection.execute("COMMIT")
        if not _settle(commands):
            loop.call_soon_threadsafe(told.set_result, outcomes)

    loop.run_in_executor(self._errands, transaction)
    return await told


async def _postgres_apply(self: Any, commands: Sequence[Command]) -> list[Outcome]:
    told: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()

    async def transaction() -> None:
        async with self._subscriber() as connection:
            wanted = needs(commands)
            await connection.execute(postgres_subscriptions.BEGIN)
            await connection.execute(postgres_subscriptions.LOCK, wanted.names)
            read = await load(connection, wanted)
            outcomes, changes = postgres_subscriptions._decide(read, commands)
            if _settle(commands):
                told.set_result(outcomes)
                await asyncio.sleep(_A_WHILE_S)
            if changes:
                arguments = change_arguments(wanted, read, changes)
                await connection.fetchval(CHANGE, own(connection).marker, *arguments)
            await connection.execute("COMMIT")
            if not _settle(commands):
                told.set_result(outcomes)

    committing = asyncio.create_task(transaction())
    _committing.add(committing)
    committing.add_done_callback(_committing.discard)
    return await told


def forget_leases(_backend: str, patch: pytest.MonkeyPatch) -> None:
    """Leases are known to the process alone that gave them; for another one they have run out."""
    known: set[str] = set()
    leased = Draft.leased

    def remember(self: Draft, lease: str, expires_us: int, size: int) -> TopicState:
        known.add(lease)
        return leased(self, lease, expires_us, size)

    def forget(state: TopicState, settings: SubscriptionSettings, now_us: int) -> RunOut:
        if any(each.lease and each.lease not in known for each in state.ranges):
            ranges = [
                replace(each, until_us=min(each.until_us, now_us))
                if each.lease and each.lease not in known
                else each
                for each in state.ranges
            ]
            state = replace(state, ranges=tuple(ranges))
        return run_out(state, settings, now_us)

    patch.setattr(Draft, "leased", remember)
    patch.setattr(consuming, "run_out", forget)


def pass_over_what_ran_out(_backend: str, patch: pytest.MonkeyPatch) -> None:
    """What a lease held when it ran out counts as acknowledged."""

    def pass_over(state: TopicState, _settings: SubscriptionSettings, now_us: int) -> RunOut:
        kept = tuple(each for each in state.ranges if not each.lease or each.until_us > now_us)
        if kept == state.ranges:
            return RunOut(state, ())
        over = state.unsettled - sum(each.count for each in kept)
        return RunOut(replace(state, acknowledged=state.acknowledged + over, ranges=kept), ())

    patch.setattr(consuming, "run_out", pass_over)
