"""Reads that wait: asking with `Prefer: wait`, and knowing when they are held."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import ClientResponse

from storage.model import Query
from support.http import Client
from support.metrics import Scraped
from support.stores import ControlledStore, until

_LIMIT_S = 30.0
LONG = "wait=60"
"""Longer than a test may take: it is answered for another reason, or the test fails."""


async def scrape(client: Client) -> Scraped:
    """The page of metrics."""
    response = await client.get("/metrics")
    assert response.status == 200
    return Scraped(await response.text())


async def held(client: Client, waits: int) -> None:
    """Return once so many waits are held, as the metrics have it."""
    async with asyncio.timeout(_LIMIT_S):
        while (await scrape(client)).value("aggregator_waits") != waits:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def wait(
    client: Client, prefer: str = LONG, /, **parameters: object
) -> tuple[list[dict[str, Any]], Mapping[str, str]]:
    """The events and the headers of a page that is waited for."""
    response = await ask(client, prefer, **parameters)
    assert response.status == 200, await response.text()
    return await response.json(), response.headers


async def ask(client: Client, prefer: str = LONG, /, **parameters: object) -> ClientResponse:
    """The answer to a page that is waited for; `from_="start"` is the parameter `from`."""
    named = {name.rstrip("_"): str(value) for name, value in parameters.items()}
    # Less than the longest wait, so that none ends well by its time.
    async with asyncio.timeout(_LIMIT_S):
        return await client.get("/events", params=named, headers={"Prefer": prefer})


class GatedReads(ControlledStore):
    """A store whose reads of pages wait at a gate while it is shut, and are counted."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._gate = asyncio.Event()
        self._gate.set()
        self.reads = 0
        """Number of reads that were begun."""
        self.at_once = 0
        """The most that were under way at the same time."""
        self._under_way = 0

    def shut(self) -> None:
        """Keep reads at the gate from now on."""
        self._gate.clear()

    def open_gate(self) -> None:
        """Let them pass."""
        self._gate.set()

    async def read(self, query: Query, encode: Any) -> Any:
        self.reads += 1
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        try:
            await self._gate.wait()
            return await super().read(query, encode)
        finally:
            self._under_way -= 1

    async def asleep(self, client: Client, waits: int) -> None:
        """Return once so many waits are held and none of them reads any more."""
        await held(client, waits)
        await until(lambda: not self._under_way, "the end of their reads")
