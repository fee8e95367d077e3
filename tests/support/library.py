"""The subscriber library against an application: its subscribers, and what they handle."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from subscriber import Delivery, Subscriber
from support.http import Client
from support.subscribing import counts

LIMIT_S = 30.0


def url_of(client: Client) -> str:
    """The URL of the application."""
    return str(client.make_url("")).rstrip("/")


def subscriber_of(client: Client, name: str = "billing", **options: Any) -> Subscriber:
    """A subscriber of a subscription of the application."""
    return Subscriber(url_of(client), name, **options)


class Record:
    """What handlers were given, in order; how many run at once, in all and of a topic."""

    def __init__(self) -> None:
        self.handled: list[tuple[str, int]] = []
        self.most = 0
        self.most_of_a_topic = 0
        self._running: defaultdict[str, int] = defaultdict(int)

    def handler(
        self, then: Callable[[Delivery], Awaitable[object]] | None = None
    ) -> Callable[[Delivery], Awaitable[None]]:
        """A handler that notes its delivery, and does something."""

        async def handle(delivery: Delivery) -> None:
            self.handled.append((delivery.topic, delivery.offset))
            self._running[delivery.topic] += 1
            self.most = max(self.most, sum(self._running.values()))
            self.most_of_a_topic = max(self.most_of_a_topic, self._running[delivery.topic])
            try:
                # Others get their turn.
                await asyncio.sleep(0)
                if then is not None:
                    await then(delivery)
            finally:
                self._running[delivery.topic] -= 1

        return handle

    def offsets(self, topic: str = "orders") -> list[int]:
        """The offsets of a topic, in the order in which they were handled."""
        return [offset for name, offset in self.handled if name == topic]


async def until_leased(client: Client, *leased: list[int], name: str = "billing") -> None:
    """Return once the counts of a subscription are one of these; fails the test at the limit."""
    async with asyncio.timeout(LIMIT_S):
        while await _counts(client, name) not in leased:  # noqa: ASYNC110 - another one's counts
            await asyncio.sleep(0.01)


async def _counts(client: Client, name: str) -> list[int] | None:
    response = await client.get(f"/subscriptions/{name}")
    return counts(await response.json()) if response.status == HTTPStatus.OK else None


async def within(work: Awaitable[Any]) -> Any:
    """The result of something that ends within a limit."""
    async with asyncio.timeout(LIMIT_S):
        return await work
