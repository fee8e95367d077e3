"""A SQLite store whose writer runs in the test's own process, for tests that reach into it.

It is the reader and the writer of production side by side, without the process between them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

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
from storage.sqlite.damage import DamageRecord
from storage.sqlite.reader import SqliteReader
from storage.sqlite.writer import SqliteWriter
from storage.subscriptions.commands import Command
from storage.subscriptions.model import FailedEvent, Subscription, SubscriptionView, TopicView
from storage.subscriptions.outcomes import Outcome


class InProcessStore:
    """A `SqliteReader` and a `SqliteWriter` that share a record of damage, as an `EventStore`."""

    backend = "sqlite"

    def __init__(self, path: Path, *, busy_timeout_s: float = 10.0, readers: int = 2) -> None:
        self.on_warning: Callable[[str], object] = lambda _sentence: None
        damage = DamageRecord(path)
        self.writer = SqliteWriter(path, busy_timeout_s=busy_timeout_s, damage=damage)
        self.reader = SqliteReader(
            path, busy_timeout_s=busy_timeout_s, damage=damage, max_connections=readers
        )
        self._appends = ThreadPoolExecutor(1, "sqlite-appends")
        """In place of the socket for batches: one after the other, in the order they come."""
        self._errands = ThreadPoolExecutor(1, "sqlite-errands")
        """In place of the socket for commands."""

    async def open(self) -> None:
        await self.aclose()
        try:
            files = await asyncio.to_thread(self.writer.open, str(uuid4()), "in process")
            await self.reader.open(files)
        except BaseException:
            await self.aclose()
            raise

    async def append(self, batch: Sequence[Event]) -> Appended:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._appends, self.writer.append, batch)

    async def ping(self) -> None:
        await asyncio.to_thread(self.writer.ping)

    async def read(self, query: Query, encode: Callable[[EventColumns], Encoded]) -> Page[Encoded]:
        return await self.reader.read(query, encode)

    async def get(
        self, topic: str, event_id: str, *, max_payload_bytes: int = LARGEST_PAYLOAD_BYTES
    ) -> EventColumns | None:
        return await self.reader.get(topic, event_id, max_payload_bytes=max_payload_bytes)

    async def heads(self, topics: Sequence[str]) -> Mapping[str, int]:
        return await self.reader.heads(topics)

    async def heads_by_prefix(
        self, prefix: str, *, after: str | None = None, limit: int = TOPICS_PER_PAGE
    ) -> Mapping[str, int]:
        return await self.reader.heads_by_prefix(prefix, after=after, limit=limit)

    async def first_offset(self, topic: str, time_us: int) -> int:
        return await self.reader.first_offset(topic, time_us)

    async def offsets_of_source(
        self, topic: str, source: str, first: int, last: int
    ) -> Sequence[tuple[int, int]]:
        return await self.reader.offsets_of_source(topic, source, first, last)

    async def stats(
        self, *, topic: str | None = None, after: str = "", limit: int = TOPICS_PER_PAGE
    ) -> Stats:
        return await self.reader.stats(topic=topic, after=after, limit=limit)

    async def usage(self) -> Usage:
        return await self.reader.usage()

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._errands, self.writer.apply, commands)

    async def subscription(self, name: str) -> Subscription | None:
        return await self.reader.subscription(name)

    async def subscriptions(self, *, after: str = "", limit: int) -> list[Subscription]:
        return await self.reader.subscriptions(after=after, limit=limit)

    async def view_topics(
        self, name: str, view: Callable[[Sequence[TopicView]], object]
    ) -> SubscriptionView | None:
        return await self.reader.view_topics(name, view)

    async def ready_topics(self, ids: Sequence[str], limit: int) -> list[tuple[str, str]]:
        return await self.reader.ready_topics(ids, limit)

    async def dead_letters(
        self, subscription_id: str, *, after: tuple[str, int] = ("", 0), limit: int
    ) -> list[FailedEvent]:
        return await self.reader.dead_letters(subscription_id, after=after, limit=limit)

    async def forget_settles(self, limit: int) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._errands, self.writer.forget_settles, limit)

    async def aclose(self) -> None:
        await self.reader.aclose()
        loop = asyncio.get_running_loop()
        # Behind the batches that were given to it before.
        await loop.run_in_executor(self._appends, self.writer.close)

    def abandon(self) -> None: ...
