"""The subscriptions of a crash campaign: made, consumed, and checked at every restart."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from support.backends import Database
from support.campaign_consumers import Consumer
from support.campaign_lives import Lives
from support.campaign_record import Broken, Record
from support.campaign_subscription import SubscriptionRecord
from support.campaign_tally import Tally
from support.command import run_to_end
from support.load import CUT_OFF, LIMIT_S, get_json

_CONSUMERS = 3
"""Of each subscription."""

_DEAD_PER_PAGE = 1_000

_POISONED = "workers"
SUBSCRIPTIONS: dict[str, dict[str, Any]] = {
    "ledger": {"topics": ["audit", "billing"], "lease_ms": 1_000, "backoff_ms": [0]},
    "desk": {"topics": ["orders", "visits"], "source": "web", "lease_ms": 1_500},
    "workers": {
        "topics": ["billing", "orders"],
        "order": "none",
        "lease_ms": 1_000,
        "max_deliveries": 3,
        "backoff_ms": [0, 50, 200],
        "stop_after_dead": None,
    },
    "watch": {"topics": ["visits", "visits.*"], "order": "none", "lease_ms": 1_200},
}
_DEFAULTS: dict[str, Any] = {
    "from": "start",
    "source": None,
    "order": "topic",
    "max_deliveries": 5,
    "backoff_ms": [0, 100],
}


class Consuming:
    """The consumers of some subscriptions, and what is checked of these.

    Args:
        database: for recounts.
        lives: the aggregators.
        client: what requests are sent with.
        record: what is known of the log.
        tally: kept up to date on the way; its seed decides what consumers do.
        directory: where recounts run.
        names: of the subscriptions, keys of `SUBSCRIPTIONS`.
    """

    def __init__(
        self,
        database: Database,
        lives: Lives,
        client: aiohttp.ClientSession,
        record: Record,
        tally: Tally,
        directory: Path,
        names: Sequence[str],
    ) -> None:
        self._database = database
        self._lives = lives
        self._client = client
        self._tally = tally
        self._directory = directory
        self._judges = [
            SubscriptionRecord(name, _DEFAULTS | SUBSCRIPTIONS[name], record.log, tally)
            for name in names
        ]
        self._consumers = [
            Consumer(
                number,
                random.Random(f"{tally.seed}/{judge.name}/{number}"),
                judge,
                lives.find,
                # As for publishers: a start takes far longer than a round needs.
                lambda: len(lives.serving) < tally.aggregators,
                poison=judge.name == _POISONED,
            )
            for judge in self._judges
            for number in range(_CONSUMERS)
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []

    async def begin(self, url: str, tasks: asyncio.TaskGroup) -> None:
        """Make the subscriptions, and have them consumed and looked at all the while."""
        for judge in self._judges:
            target = f"{url}/subscriptions/{judge.name}"
            async with self._client.put(target, json=judge.settings) as response:
                assert response.status == 201, await response.text()
        self._tasks = [tasks.create_task(each.run(self._client)) for each in self._consumers]
        self._watching = [tasks.create_task(self._watch(judge)) for judge in self._judges]

    async def _watch(self, judge: SubscriptionRecord) -> None:
        """Whatever is going on, the counts fit together; what is settled never gets less."""
        chance = random.Random(self._tally.seed)
        settled = (0, 0)
        while True:
            await asyncio.sleep(0.2)
            if not self._lives.serving:
                continue
            try:
                status = await self._look(judge, chance.choice(self._lives.serving).url)
            except CUT_OFF:
                continue
            now = (status["acknowledged"], status["dead"])
            if any(after < before for before, after in zip(settled, now, strict=True)):
                raise Broken(f"{judge.name} had {settled} settled and dead, and has {now}")
            settled = now

    async def _look(self, judge: SubscriptionRecord, url: str) -> dict[str, Any]:
        least, asked_s = judge.least(), time.monotonic()
        status: dict[str, Any] = await get_json(self._client, f"{url}/subscriptions/{judge.name}")
        judge.check_status(least, asked_s, status)
        return status

    async def check(self, url: str, *, recount: bool) -> None:
        """Check what was delivered and told against the log, which was read before.

        Args:
            url: of an aggregator.
            recount: whether `verify` has to agree, too.
        """
        for judge in self._judges:
            judge.check_read()
            known = judge.known_dead()
            judge.check_dead(known, await self._dead(judge, url))
            await self._look(judge, url)
        if recount and self._judges:
            await self._recount()

    async def _dead(self, judge: SubscriptionRecord, url: str) -> list[dict[str, Any]]:
        letters: list[dict[str, Any]] = []
        target: Any = f"{url}/subscriptions/{judge.name}/dead?limit={_DEAD_PER_PAGE}"
        while target:
            async with self._client.get(target) as response:
                assert response.status == 200, await response.text()
                letters += await response.json()
                target = response.links["next"]["url"] if "next" in response.links else None
        return letters

    async def finish(self) -> None:
        """Have everything settled, by consumers that do their best, and end them."""
        for consumer in self._consumers:
            consumer.earnest = True
        for judge in self._judges:
            await self._until_settled(judge)
        for consumer in self._consumers:
            consumer.ending = True
        await asyncio.gather(*self._tasks)
        for task in self._watching:
            task.cancel()

    async def _until_settled(self, judge: SubscriptionRecord) -> None:
        """Return once nothing is left; fails if it does not get less within the limit."""
        least: int | None = None
        moved_s = time.monotonic()
        while least != 0:
            left = (await self._look(judge, self._lives.serving[0].url))["lag"]["events"]
            if least is None or left < least:
                least, moved_s = left, time.monotonic()
            assert time.monotonic() < moved_s + LIMIT_S, f"{judge.name}: {left} events are left"
            await asyncio.sleep(0.1)

    async def check_end(self) -> None:
        """Check that everything was delivered and is settled."""
        for judge in self._judges:
            judge.check_end(await self._look(judge, self._lives.serving[0].url))

    async def _recount(self) -> None:
        """Have the database recounted from outside."""
        arguments = self._database.arguments()
        ended = await asyncio.to_thread(run_to_end, "verify", *arguments, cwd=self._directory)
        if ended.code:
            raise Broken(f"verify ends with {ended.code}: {ended.out}{ended.err}")
