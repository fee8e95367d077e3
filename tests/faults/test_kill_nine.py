"""`kill -9` in the midst of publishing, again and again on the same database."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import aiohttp
from support.backends import Database
from support.load import Told, batch_of, check_kept, keys_of, publish, session, until_acknowledged
from support.processes import Aggregator

Run = Callable[..., Aggregator]

KILLS = 5
PUBLISHERS = 4
TOPICS = ["orders", "visits"]
NEW = 20
"""New events in each batch, half in either topic."""


class Publisher:
    """Sends batches of new ids over two topics, with some that were acknowledged before."""

    def __init__(self, number: int, told: Told) -> None:
        self._number = number
        self._told = told
        self._chance = random.Random(number)
        self._counter = itertools.count()
        self._acknowledged: list[dict[str, Any]] = []

    async def publish(self, client: aiohttp.ClientSession, url: str) -> None:
        """Publish until there is no answer."""
        while True:
            ids = [f"{self._number}-{next(self._counter)}" for _ in range(NEW // 2)]
            new = [event for topic in TOPICS for event in batch_of(topic, ids)]
            count = min(5, len(self._acknowledged))
            again = self._chance.sample(self._acknowledged, count)
            if await publish(client, url, new + again, self._told) == 0:
                return
            self._acknowledged += new


async def test_what_was_acknowledged_survives_and_no_request_is_stored_in_part(
    run_aggregator: Run, database: Database
) -> None:
    chance = random.Random(9)
    told = Told()
    publishers = [Publisher(number, told) for number in range(PUBLISHERS)]
    for kill in range(KILLS):
        aggregator = run_aggregator(*database.arguments())
        enough = told.requests + chance.randrange(4, 40)
        async with session() as client:
            running = [asyncio.create_task(p.publish(client, aggregator.url)) for p in publishers]
            await until_acknowledged(told, enough)
            # Somewhere within the next transactions.
            await asyncio.sleep(chance.random() / 100)
            aggregator.kill()
            await asyncio.gather(*running)
        assert len(told.unanswered) >= kill + 1, "nothing was under way"

    again = run_aggregator(*database.arguments())
    async with session() as client:
        stored, stats = await check_kept(client, again.url, told, TOPICS)
    whole = []
    for batch in told.uncertain:
        # Ids that no other batch holds; they tell whether this one is there.
        new = keys_of(batch[:NEW])
        kept = new & set(stored)
        assert kept in (set(), new), f"{len(kept)} of {len(new)} events of a request are stored"
        if kept:
            whole.append(batch)
    assert stats["received"] == told.received + sum(map(len, whole))
    assert set(stored) == set(told.offsets).union(*(keys_of(batch) for batch in whole))
