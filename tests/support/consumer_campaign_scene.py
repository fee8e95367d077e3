"""A scene of consumer processes on one aggregator, which stop where a test wants them to."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from support.consumer_campaign_effects import Effect, make_tables, read_effects
from support.consumer_campaign_gate import LIMIT_S, Gate, Visit, open_gate
from support.consumer_campaign_plan import Library, Plan, Point, Way
from support.consumer_campaign_processes import Consumer, Nursery, open_nursery
from support.load import batch_of, get_json, post, session
from support.subscribing import check_law


class Scene:
    """A topic and a subscription for each library, and consumers of them.

    Args:
        nursery: makes the consumers.
        gate: where they stop.
        client: what requests are sent with.
        url: of the aggregator.
        targets: databases of consumers, the Postgres one and a directory for files.
    """

    def __init__(
        self,
        nursery: Nursery,
        gate: Gate,
        client: aiohttp.ClientSession,
        url: str,
        targets: tuple[str, Path],
    ) -> None:
        self.nursery = nursery
        self.gate = gate
        self._client = client
        self._url = url
        self._targets = targets
        self._numbers = 0

    async def make(self, name: str, events: int, **settings: Any) -> None:
        """Make a subscription of the topic of the same name, with so many events."""
        await self.publish(name, 1, events)
        await make_tables(self._target(Library.AIOSQLITE, name), is_sqlite=True)
        body = {"topics": [name], "from": "start", "backoff_ms": [0], **settings}
        url = f"{self._url}/subscriptions/{name}"
        async with self._client.put(url, json=body) as response:
            assert response.status == 201, await response.text()

    async def publish(self, topic: str, first: int, last: int) -> None:
        """Publish events whose ids are the numbers from the first to the last."""
        batch = batch_of(topic, map(str, range(first, last + 1)))
        status, answer = await post(self._client, self._url, batch)
        assert status == 200, answer

    async def consumer(
        self, library: Library, subscription: str, *stops: Point, **changes: Any
    ) -> Consumer:
        """Start a consumer of a subscription that stops at points."""
        self._numbers += 1
        plan = Plan(
            number=self._numbers,
            url=self._url,
            subscription=subscription,
            library=library,
            target=self._target(library, subscription),
            way=changes.pop("way", Way.RUN_BATCHES),
            gate=self.gate.port,
            stops=stops,
            **changes,
        )
        return await self.nursery.make(plan)

    async def visit(self, consumer: Consumer, point: Point) -> Visit:
        """Return the next visit of a consumer to a point, when it is there."""
        return await self.gate.visit(consumer.plan.number, point)

    async def kill(self, consumer: Consumer) -> None:
        """End a consumer as `kill -9` does."""
        self.nursery.kill(consumer)
        await consumer.end(-9)

    async def effects(self, library: Library, subscription: str) -> list[Effect]:
        """Return the effects of a subscription, in the order in which they were written."""
        target = self._target(library, subscription)
        return await read_effects(target, subscription, is_sqlite=library.is_sqlite)

    async def look(self, subscription: str) -> Mapping[str, Any]:
        """GET a subscription, with the law checked."""
        found: dict[str, Any] = await get_json(
            self._client, f"{self._url}/subscriptions/{subscription}"
        )
        check_law(found)
        return found

    async def until_settled(self, subscription: str) -> Mapping[str, Any]:
        """Return the subscription once nothing of it is leased or waiting."""
        found = await self.look(subscription)
        async with asyncio.timeout(LIMIT_S):
            while found["lag"]["events"]:
                await asyncio.sleep(0.02)
                found = await self.look(subscription)
        return found

    async def dead(self, subscription: str) -> list[tuple[int, str]]:
        """Return the offsets and the last errors of dead letters."""
        letters = await get_json(self._client, f"{self._url}/subscriptions/{subscription}/dead")
        return [(letter["offset"], letter["last_error"]) for letter in letters]

    def _target(self, library: Library, subscription: str) -> str:
        postgres, directory = self._targets
        return str(directory / f"{subscription}.db") if library.is_sqlite else postgres


@asynccontextmanager
async def open_scene(url: str, consumers_dsn: str, directory: Path) -> AsyncIterator[Scene]:
    """A scene, for as long as the context lasts.

    Args:
        url: of the aggregator.
        consumers_dsn: an empty Postgres database, of the consumers.
        directory: for files.
    """
    await make_tables(consumers_dsn, is_sqlite=False)
    async with open_nursery(directory) as nursery, open_gate() as gate, session() as client:
        yield Scene(nursery, gate, client, url, (consumers_dsn, directory))
