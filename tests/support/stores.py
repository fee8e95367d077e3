"""A real store with a test's hand on it: it can be held, be made to fail, and tells what it did."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from storage.errors import BatchRefused, StorageError
from storage.model import (
    LARGEST_PAYLOAD_BYTES,
    TOPICS_PER_PAGE,
    Appended,
    Encoded,
    Event,
    EventColumns,
    Page,
    Query,
    Stats,
    Usage,
)
from storage.protocols import EventStore
from storage.subscriptions.commands import Command
from storage.subscriptions.model import FailedEvent, Subscription, SubscriptionView, TopicView
from storage.subscriptions.outcomes import Outcome

_LIMIT_S = 30.0


class ControlledStore:
    """Passes every call on to `inner`, under the test's control.

    `hold()` keeps the next appends waiting until `release()`. An append that holds an event
    whose id is in `refused` is refused as a database would refuse it. `broken` is raised in
    place of an append or a ping for as long as it is set.
    """

    def __init__(self, inner: EventStore) -> None:
        self._inner = inner
        self.backend = inner.backend
        self.batches: list[list[str]] = []
        """The event ids of every append that was begun, in the order they came."""
        self.refused: set[str] = set()
        self.broken: StorageError | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._begun = asyncio.Condition()

    @property
    def on_warning(self) -> Callable[[str], object]:
        return self._inner.on_warning

    @on_warning.setter
    def on_warning(self, told: Callable[[str], object]) -> None:
        self._inner.on_warning = told

    def hold(self) -> None:
        """Keep appends waiting from now on."""
        self._open.clear()

    def release(self) -> None:
        """Let them go on."""
        self._open.set()

    async def begun(self, batches: int = 1) -> None:
        """Return once so many appends were begun."""
        async with asyncio.timeout(_LIMIT_S), self._begun:
            await self._begun.wait_for(lambda: len(self.batches) >= batches)

    async def append(self, batch: Sequence[Event]) -> Appended:
        ids = [event.event_id for event in batch]
        async with self._begun:
            self.batches.append(ids)
            self._begun.notify_all()
        await self._open.wait()
        if self.broken is not None:
            raise self.broken
        if self.refused & set(ids):
            raise BatchRefused("the database refused it")
        return await self._inner.append(batch)

    async def ping(self) -> None:
        if self.broken is not None:
            raise self.broken
        await self._inner.ping()

    async def open(self) -> None:
        await self._inner.open()

    async def read(self, query: Query, encode: Callable[[EventColumns], Encoded]) -> Page[Encoded]:
        return await self._inner.read(query, encode)

    async def get(
        self, topic: str, event_id: str, *, max_payload_bytes: int = LARGEST_PAYLOAD_BYTES
    ) -> EventColumns | None:
        return await self._inner.get(topic, event_id, max_payload_bytes=max_payload_bytes)

    async def heads(self, topics: Sequence[str]) -> Mapping[str, int]:
        return await self._inner.heads(topics)

    async def usage(self) -> Usage:
        return await self._inner.usage()

    async def heads_by_prefix(
        self, prefix: str, *, after: str | None = None, limit: int = TOPICS_PER_PAGE
    ) -> Mapping[str, int]:
        return await self._inner.heads_by_prefix(prefix, after=after, limit=limit)

    async def first_offset(self, topic: str, time_us: int) -> int:
        return await self._inner.first_offset(topic, time_us)

    async def offsets_of_source(
        self, topic: str, source: str, first: int, last: int
    ) -> Sequence[tuple[int, int]]:
        return await self._inner.offsets_of_source(topic, source, first, last)

    async def stats(
        self, *, topic: str | None = None, after: str = "", limit: int = TOPICS_PER_PAGE
    ) -> Stats:
        return await self._inner.stats(topic=topic, after=after, limit=limit)

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        return await self._inner.apply(commands)

    async def subscription(self, name: str) -> Subscription | None:
        return await self._inner.subscription(name)

    async def subscriptions(self, *, after: str = "", limit: int) -> list[Subscription]:
        return await self._inner.subscriptions(after=after, limit=limit)

    async def view_topics(
        self, name: str, view: Callable[[Sequence[TopicView]], object]
    ) -> SubscriptionView | None:
        return await self._inner.view_topics(name, view)

    async def ready_topics(self, ids: Sequence[str], limit: int) -> list[tuple[str, str]]:
        return await self._inner.ready_topics(ids, limit)

    async def dead_letters(
        self, subscription_id: str, *, after: tuple[str, int] = ("", 0), limit: int
    ) -> list[FailedEvent]:
        return await self._inner.dead_letters(subscription_id, after=after, limit=limit)

    async def forget_settles(self, limit: int) -> bool:
        return await self._inner.forget_settles(limit)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def abandon(self) -> None:
        self._inner.abandon()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Return once `condition` holds; fail the test if it never does."""
    async with asyncio.timeout(_LIMIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)
    assert condition(), what
