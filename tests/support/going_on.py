"""Publishers that go on whatever is answered, and what must hold when they have stopped."""

import asyncio
import itertools
from collections.abc import Callable

import aiohttp

from support.load import LIMIT_S, Batch, Told, batch_of, check_kept, keys_of, publish
from support.processes import Aggregator

TOPICS = ["orders", "visits"]


class Load:
    """Publishers that go on, whatever is answered, until they are stopped."""

    def __init__(self, client: aiohttp.ClientSession, url: str, told: Told) -> None:
        self._client, self._url, self._told = client, url, told
        self._stopped = False
        self._tasks = [asyncio.create_task(self._publish(number)) for number in range(6)]

    async def _publish(self, publisher: int) -> None:
        for number in itertools.count():
            if self._stopped:
                return
            # Half of each batch was in the one before.
            ids = [f"{publisher}-{number * 3 + n}" for n in range(6)]
            batch = batch_of(TOPICS[publisher % 2], ids)
            status = await publish(self._client, self._url, batch, self._told)
            # The aggregator itself is there all the time.
            assert status in {200, 503}
            await asyncio.sleep(0.005 if status == 200 else 0.05)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds."""
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                for task in self._tasks:
                    if task.done():
                        await task
                await asyncio.sleep(0.01)

    async def until_more_is_acknowledged(self) -> None:
        """Return once some requests were acknowledged that are not yet."""
        enough = self._told.requests + 20
        await self.until(lambda: self._told.requests >= enough)

    async def until_more_is_refused(self) -> None:
        """Return once some requests were refused that are not yet."""
        enough = len(self._told.refused) + 6
        await self.until(lambda: len(self._told.refused) >= enough)

    async def stop(self) -> None:
        """Let every publisher hear the answer to its last request."""
        self._stopped = True
        await asyncio.gather(*self._tasks)


async def refusal(client: aiohttp.ClientSession, url: str, batch: Batch, told: Told) -> str:
    """Publish; the sentence of the 503 that must come."""
    async with client.post(f"{url}/publish", json=batch) as response:
        problem = await response.json(content_type=None)
        assert response.status == 503, problem
    told.refused.append(batch)
    return str(problem["detail"])


async def check_all(client: aiohttp.ClientSession, url: str, told: Told) -> None:
    """Nothing acknowledged is lost, and counts are those of whole requests."""
    stored, stats = await check_kept(client, url, told, TOPICS)
    possible = set(told.offsets).union(*map(keys_of, told.uncertain))
    assert set(stored) <= possible
    late = sum(len(batch) for batch in told.uncertain)
    assert told.received <= stats["received"] <= told.received + late


def check_log(aggregator: Aggregator) -> None:
    """Whatever the storage did, to the aggregator it is nothing unforeseen."""
    assert b"Traceback" not in aggregator.written()
    assert [line for line in aggregator.log_lines() if line["level"] == "error"] == []
