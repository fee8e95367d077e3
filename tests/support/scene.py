"""What a race is played on: two stores on one database, and an observer past them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import pytest

from storage.model import Appended
from storage.protocols import EventStore
from support.backends import Database
from support.interleaving import Interleaving, Outcome
from support.observer import Observer


class Scene(NamedTuple):
    """What a race is played on."""

    backend: str
    database: Database
    a: EventStore
    b: EventStore
    observer: Observer
    patch: pytest.MonkeyPatch

    def interleaving(self, *, optimistic: bool = False) -> Interleaving:
        """The gate before every statement, made after a protection was taken away."""
        return Interleaving(self.database, optimistic=optimistic)

    @classmethod
    @asynccontextmanager
    async def on(cls, database: Database, patch: pytest.MonkeyPatch) -> AsyncIterator["Scene"]:
        """Both stores open, for as long as the context lasts."""
        async with AsyncExitStack() as stack:
            a, b = database.in_process_store(readers=1), database.in_process_store(readers=1)
            for store in (a, b):
                stack.push_async_callback(store.aclose)
                await store.open()
            observer = await stack.enter_async_context(Observer.on(database))
            yield cls(database.backend, database, a, b, observer, patch)


def told(outcome: Outcome) -> list[tuple[str, int]]:
    """The verdicts of one append as (status, offset); fails if it was refused."""
    assert isinstance(outcome, Appended), outcome
    return [(verdict.status.value, verdict.offset) for verdict in outcome.verdicts]
