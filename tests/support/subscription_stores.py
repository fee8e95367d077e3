"""A database of subscriptions behind two real stores, which a test cuts off at commands."""

import asyncio
import itertools
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar

from storage.errors import OutcomeUnknown, StorageUnavailable
from storage.protocols import EventStore
from storage.sqlite.store import SqliteStore
from storage.subscriptions.commands import Command, Pause
from storage.subscriptions.model import FailedEvent, TopicView
from storage.subscriptions.outcomes import Outcome
from support.backends import Database
from support.events import event
from support.observer import Observer
from support.subscription_model import MS, Log
from support.subscription_requests import Looked

T = TypeVar("T")

LONGEST_MS = 120
"""Nobody waits longer than that for a lease to run out."""

_LIMIT_S = 30.0
_MOST_CUT = 50
"""More connections than a store has."""
_TABLES = (
    "subscription_settles", "subscription_failures", "subscription_topics", "subscriptions",
    "events", "topics", "appends",
)  # fmt: skip
_TIMES = 'SELECT {} FROM events WHERE topic = {} AND "offset" > {} ORDER BY "offset"'
_MICROSECONDS = "(extract(epoch FROM {}) * 1000000)::bigint"
_CUT_OFF = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""


class Cut(NamedTuple):
    """How commands are cut off from their store.

    Args:
        after_ms: so many milliseconds behind their beginning, if they are not done by then.
        loses_answer: not at all, but nobody hears of what was done.
    """

    after_ms: float = 0
    loses_answer: bool = False


class StoreDatabase:
    """Two stores on one database, and what a run of a machine does by them.

    Args:
        runner: the event loop.
        stores: both of them, open.
        observer: looks past them.
    """

    def __init__(
        self, runner: asyncio.Runner, stores: Sequence[EventStore], observer: Observer
    ) -> None:
        self._runner = runner
        self._stores = stores
        self._observer = observer
        self._is_sqlite = isinstance(stores[0], SqliteStore)
        self._turns = itertools.cycle(stores)
        self._event_ids = itertools.count(1)
        self._last_us = 0
        self._log = Log()
        self.cut: Cut | None = None
        """How the next commands are cut off from their store."""
        self.unknown = 0
        """How often nobody knew what had become of commands."""

    @classmethod
    @contextmanager
    def on(cls, database: Database, runner: asyncio.Runner) -> Iterator["StoreDatabase"]:
        """One on this database, for as long as the context lasts."""
        stack = AsyncExitStack()

        async def opened() -> "StoreDatabase":
            stores = [database.store(), database.store()]
            for store in stores:
                stack.push_async_callback(store.aclose)
                await store.open()
            return cls(runner, stores, await stack.enter_async_context(Observer.on(database)))

        try:
            yield runner.run(opened())
        finally:
            runner.run(stack.aclose())

    def begin(self, log: Log) -> None:
        """Begin with an empty database.

        Args:
            log: what is stored is written down here.
        """
        self._log = log
        self.cut = None
        for table in _TABLES:
            self._run(self._observer.fetch(f"DELETE FROM {table}"))
        self._last_us = self.now_us()

    def now_us(self) -> int:
        """The time of the database."""
        if self._is_sqlite:
            return time.time_ns() // 1000
        (told,) = self._run(
            self._observer.fetch(f"SELECT {_MICROSECONDS.format('clock_timestamp()')}")
        )
        return int(told[0])

    def apply(self, commands: Sequence[Command]) -> tuple[list[Outcome] | None, tuple[int, int]]:
        """See `SubscriptionDatabase`."""
        first_us = self._last_us
        outcomes = self._run(self._apply(commands))
        self._last_us = self.now_us()
        return outcomes, (first_us, self._last_us)

    async def _apply(self, commands: Sequence[Command]) -> list[Outcome] | None:
        store, cut, self.cut = next(self._turns), self.cut, None
        if cut is None:
            return await store.apply(commands)
        applying = asyncio.create_task(store.apply(commands))
        try:
            if not cut.loses_answer:
                await asyncio.sleep(cut.after_ms / 1000)
                await self._cut_off(store)
            outcomes = await applying
        except OutcomeUnknown:
            outcomes = None
        except StorageUnavailable:
            outcomes = []  # Nothing was done.
        finally:
            await self._come_back()
        if cut.loses_answer or outcomes is None:
            self.unknown += 1
            return None
        return outcomes

    async def _cut_off(self, store: EventStore) -> None:
        """Kill what writes for a store: its process, or all sessions of the database."""
        if isinstance(store, SqliteStore):
            store.abandon()
        else:
            await self._observer.fetch(_CUT_OFF)

    async def _come_back(self) -> None:
        """Have both stores notice what was cut off."""
        for store in self._stores:
            for _ in range(_MOST_CUT):
                try:
                    await store.ping()
                    await store.subscription("nobody")
                    await store.apply([Pause("nobody", None)])
                except StorageUnavailable:
                    continue
                break

    def look(self, name: str) -> Looked | None:
        """See `SubscriptionDatabase`."""
        views: list[TopicView] = []
        found = self._run(next(self._turns).view_topics(name, views.extend))
        if found is None:
            return None
        self._last_us = max(self._last_us, found.now_us)
        return found.subscription, views, found.now_us

    def dead_letters(self, subscription_id: str) -> list[FailedEvent]:
        """See `SubscriptionDatabase`."""
        return self._run(next(self._turns).dead_letters(subscription_id, limit=1000))

    def forget_settles(self) -> None:
        """Forget what need not be kept any more."""
        while self._run(next(self._turns).forget_settles(2)):
            pass

    def publish(self, topic: str, sources: Sequence[str]) -> None:
        """See `SubscriptionDatabase`."""
        batch = [event(topic, f"e-{next(self._event_ids)}", source=each) for each in sources]
        self._run(next(self._turns).append(batch))
        known = self._log.topics.setdefault(topic, [])
        ingest, place = "ts_ingest", ("?", "?")
        if not self._is_sqlite:
            ingest, place = _MICROSECONDS.format(ingest), ("$1", "$2")
        times = self._run(self._observer.fetch(_TIMES.format(ingest, *place), topic, len(known)))
        known.extend((source, int(us)) for source, (us,) in zip(sources, times, strict=True))

    def let_pass(self, how: str, times_us: Sequence[int]) -> None:
        """See `SubscriptionDatabase`: until the clock of the database has passed a time."""
        now_us = self.now_us()
        near = [each for each in times_us if 0 < each - now_us <= LONGEST_MS * MS]
        if not near:
            return
        target_us = near[0] if how in {"edge", "before"} else near[-1]
        self._run(self._pass(target_us - now_us))
        while self.now_us() <= target_us:
            self._run(self._pass(1000))

    async def _pass(self, microseconds: int) -> None:
        await asyncio.sleep(microseconds / 10**6)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        async def limited() -> T:
            async with asyncio.timeout(_LIMIT_S):
                return await work

        return self._runner.run(limited())
