"""The subscriptions of a SQLite store: looks in this process, commands in the one that writes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from storage.sqlite.reader import SqliteReader
from storage.sqlite.writer_client import WriterProcess
from storage.subscriptions.commands import Command
from storage.subscriptions.model import FailedEvent, Subscription, SubscriptionView, TopicView
from storage.subscriptions.outcomes import Outcome

Result = TypeVar("Result")


class SqliteSubscriptions(ABC):
    """A `SubscriptionStore` through the reader and the writer process of a store."""

    _reader: SqliteReader

    @abstractmethod
    def _writer(self) -> WriterProcess:
        """Return the writer process; `StorageUnavailable` if nothing may be written."""

    @abstractmethod
    async def _read(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Read, within a limited time."""

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """See `SubscriptionStore.apply`."""
        return await self._writer().apply(commands)

    async def subscription(self, name: str) -> Subscription | None:
        """See `SubscriptionStore.subscription`."""
        return await self._read(self._reader.subscription(name))

    async def subscriptions(self, *, after: str = "", limit: int) -> list[Subscription]:
        """See `SubscriptionStore.subscriptions`."""
        return await self._read(self._reader.subscriptions(after=after, limit=limit))

    async def view_topics(
        self, name: str, view: Callable[[Sequence[TopicView]], object]
    ) -> SubscriptionView | None:
        """See `SubscriptionStore.view_topics`."""
        return await self._read(self._reader.view_topics(name, view))

    async def ready_topics(self, ids: Sequence[str], limit: int) -> list[tuple[str, str]]:
        """See `SubscriptionStore.ready_topics`."""
        return await self._read(self._reader.ready_topics(ids, limit))

    async def dead_letters(
        self, subscription_id: str, *, after: tuple[str, int] = ("", 0), limit: int
    ) -> list[FailedEvent]:
        """See `SubscriptionStore.dead_letters`."""
        return await self._read(
            self._reader.dead_letters(subscription_id, after=after, limit=limit)
        )

    async def forget_settles(self, limit: int) -> bool:
        """See `SubscriptionStore.forget_settles`."""
        return await self._writer().forget_settles(limit)
