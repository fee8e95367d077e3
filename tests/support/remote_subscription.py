"""A subscription of an aggregator that is a process, as consumers use it over HTTP."""

from collections.abc import Mapping
from typing import Any

import aiohttp

from support.events import published
from support.load import Told, get_json, publish, until_answer
from support.subscribing import check_law


class RemoteSubscription:
    """A subscription, reached through one aggregator.

    Args:
        session: what requests are sent with.
        url: of the aggregator.
        name: of the subscription.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, name: str = "billing") -> None:
        self._session = session
        self._url = url
        self._name = name

    def through(self, url: str) -> "RemoteSubscription":
        """The same subscription, reached through another aggregator."""
        return RemoteSubscription(self._session, url, self._name)

    async def fill(self, count: int, topic: str = "orders", **changes: Any) -> None:
        """Publish so many events to a topic."""
        batch = [published(topic=topic, **changes) for _ in range(count)]
        assert await publish(self._session, self._url, batch, Told()) == 200

    async def make(self, *topics: str, **settings: Any) -> None:
        """Make it, of `orders` if no topics are given, from the start."""
        body = {"topics": topics or ["orders"], "from": "start", **settings}
        url = f"{self._url}/subscriptions/{self._name}"
        async with self._session.put(url, json=body) as response:
            assert response.status == 201, await response.text()

    async def lease(self, max_events: int = 100, **members: Any) -> dict[str, Any]:
        """Lease events, as `w` if no consumer is named."""
        return await self.send("lease", {"consumer": "w", "max_events": max_events, **members})

    async def settle(self, lease: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
        """Settle events of a lease."""
        return await self.send("settle", {"lease": lease["lease"], **parts})

    async def send(self, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST what is answered 200."""
        url = f"{self._url}/subscriptions/{self._name}/{action}"
        async with self._session.post(url, json=body) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
            assert response.status == 200, answer
            return answer

    async def look(self) -> dict[str, Any]:
        """GET it, with the law checked."""
        url = f"{self._url}/subscriptions/{self._name}"
        found: dict[str, Any] = await get_json(self._session, url)
        check_law(found)
        return found

    async def until_waited_for(self, consumers: int) -> None:
        """Return once so many consumers wait at the aggregator for something to lease."""
        text = f"aggregator_lease_waits {consumers}.0"
        await until_answer(self._session, f"{self._url}/metrics", 200, text)
