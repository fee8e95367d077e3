"""A campaign of consumers: they and their aggregator are killed, and their effects are counted.

Publishers go on all the while (`publisher.Publisher`). Several consumers of each subscription
(`consumer_campaign_consumer`), each with a plan of its own (`consumer_campaign_draw`), kill
themselves where it says, or are killed; another one takes the place of each. The aggregator is
killed at random moments, and started again on the same database. In the end what is left is
consumed undisturbed, and judged (`consumer_campaign_judge`).
"""

import asyncio
import itertools
import random
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp

from publisher import Event, Publisher, RetryPolicy, Verdict
from support.backends import Database
from support.consumer_campaign_draw import SETTINGS, SUBJECTS, Subject, draw
from support.consumer_campaign_effects import make_tables
from support.consumer_campaign_end import read_topics, settle_accounts
from support.consumer_campaign_judge import Found
from support.consumer_campaign_lives import Lives
from support.consumer_campaign_plan import Kind, Plan, Point, Way
from support.consumer_campaign_processes import Consumer, Nursery, open_nursery, suspend
from support.consumer_campaign_slots import Slots, Wanted
from support.consumer_campaign_tally import ConsumerTally, SubjectTally
from support.load import CUT_OFF, LIMIT_S, batch_of, get_json, post, session
from support.subscribing import check_law

TOPICS = tuple(f"{name}.{n}" for name in ("billing", "orders", "visits") for n in range(6))
"""So many that those whose leases have to run out are not all."""
BORDER = "ledger"
"""A topic that is consumed across the end of a checkpoint's row, which has 4,096 offsets."""
BORDER_START = 4_090
_BORDER_EVENTS = 12
_FIRST_EVENTS = 10
"""In each of the others, before anybody consumes."""

_MOST_LIFE_S = 15.0
"""How long a consumer may take until it dies by itself; then it is killed all the same."""
_ANY_LIFE_S = 0.7
"""How long one lives that is killed at any moment, at most."""
_SUSPENDED = 0.4
"""The share of these that do not run for longer than a lease before."""
_SUSPENDED_S = 1.3
_MOST_LAG = 300
"""Nothing is published while a subscription has more events left than that."""
_LOOK_S = 0.1
_AGGREGATOR_S = (0.1, 4.0)
"""How long an aggregator serves."""
_RETRIES = RetryPolicy(first_wait_s=0.02, max_wait_s=0.2, deadline_s=LIMIT_S)


class ConsumerCampaign:
    """A campaign under way.

    Args:
        lives: of the aggregator.
        nursery: makes the consumers.
        client: what requests are sent with.
        tally: kept up to date on the way; its seed decides.
        wanted: what is to be done.
        targets: databases of consumers, the Postgres one and a directory for files.
    """

    def __init__(
        self,
        lives: Lives,
        nursery: Nursery,
        client: aiohttp.ClientSession,
        tally: ConsumerTally,
        wanted: Wanted,
        targets: tuple[str, Path],
    ) -> None:
        self._lives = lives
        self._nursery = nursery
        self._client = client
        self._tally = tally
        self._wanted = wanted
        self._targets = targets
        self._numbers = 0
        self._goes_on = True
        self._lags: dict[str, int] = {}
        self.stored: dict[tuple[str, int], str] = {}
        """What publishers were told: the ids of events, by topic and offset."""

    async def run(self) -> list[Slots]:
        """Kill as often as is wanted, and have everything consumed.

        Returns:
            The subscriptions, whose effects can be judged.

        Raises:
            AssertionError: a consumer has ended that nobody has killed, or tells of a fault.
        """
        await self._fill()
        slots = [await self._begin(SUBJECTS[name]) for name in self._wanted.subjects]
        try:
            async with (
                asyncio.TaskGroup() as tasks,
                Publisher(self._lives.url, policy=_RETRIES) as publisher,
            ):
                publishing = tasks.create_task(self._publish(publisher))
                watching = tasks.create_task(self._watch(slots))
                tasks.create_task(self._kill_aggregators())
                async with asyncio.TaskGroup() as keeping:
                    for slot in slots:
                        for _ in range(slot.subject.consumers):
                            keeping.create_task(self._keep(slot))
                self._goes_on = False
                await publishing
                watching.cancel()
        except BaseExceptionGroup as group:
            raise _first(group) from None
        await asyncio.gather(*(self._drain(slot) for slot in slots))
        return slots

    async def _fill(self) -> None:
        ids = [f"before-{number}" for number in range(BORDER_START + _BORDER_EVENTS)]
        for topic, event_ids in (
            (BORDER, ids),
            *((topic, ids[:_FIRST_EVENTS]) for topic in TOPICS),
        ):
            status, answer = await post(self._client, self._lives.url, batch_of(topic, event_ids))
            assert status == 200, answer
            self.stored |= {(topic, n): event_id for n, event_id in enumerate(event_ids, start=1)}

    async def _begin(self, subject: Subject) -> Slots:
        tally = SubjectTally(subject.name, str(subject.kind), subject.order)
        self._tally.subjects.append(tally)
        target = ""
        if subject.library.is_sqlite:
            target = str(self._targets[1] / f"{subject.name}.db")
            await make_tables(target, is_sqlite=True)
        elif subject.kind is not Kind.RESULTS:
            target = self._targets[0]
        body = SETTINGS | {
            "topics": [*TOPICS, BORDER],
            "from": {"offsets": {BORDER: BORDER_START}},
            "order": subject.order,
        }
        url = f"{self._lives.url}/subscriptions/{subject.name}"
        async with self._client.put(url, json=body) as response:
            assert response.status == 201, await response.text()
        chance = random.Random(f"{self._tally.seed}/{self._tally.backend}/{subject.name}")
        return Slots(subject, target, tally, chance, self._wanted)

    async def _publish(self, publisher: Publisher) -> None:
        """Publish a few events now and then, so that there is always something to consume."""
        chance = random.Random(f"{self._tally.seed}/publisher")
        verdicts: list[asyncio.Future[Verdict]] = []
        while self._goes_on:
            await asyncio.sleep(chance.random() / 15)
            if max(self._lags.values(), default=0) > _MOST_LAG:
                continue
            topic = chance.choice([*TOPICS, BORDER])
            for _ in range(chance.randint(1, 8)):
                number = len(verdicts)
                event = Event(topic, {"number": number}, "shop", event_id=f"new-{number}")
                verdicts.append(await publisher.submit(event))
        for verdict in await asyncio.gather(*verdicts):
            # It is a duplicate where the answer to the first try was lost.
            assert verdict.status in {"stored", "duplicate"}, verdict
            self.stored[verdict.topic, verdict.offset] = verdict.event_id

    async def _watch(self, slots: Sequence[Slots]) -> None:
        """Whatever is going on, the law holds."""
        for slot in itertools.cycle(slots):
            await asyncio.sleep(_LOOK_S)
            with suppress(*CUT_OFF):
                await self._look(slot)

    async def _look(self, slots: Slots) -> int:
        """Check the law; return how many events are leased or waiting."""
        name = slots.subject.name
        status = await get_json(self._client, f"{self._lives.url}/subscriptions/{name}")
        check_law(status)
        left: int = status["lag"]["events"]
        self._lags[name] = left
        return left

    async def _kill_aggregators(self) -> None:
        chance = random.Random(f"{self._tally.seed}/aggregator")
        while self._tally.aggregators < self._wanted.aggregators:
            await asyncio.sleep(chance.uniform(*_AGGREGATOR_S))
            # Longer than a lease, for a third of them.
            await self._lives.kill_and_start(chance, chance.choice((0.0, 0.0, 1.2)))
            self._tally.aggregators += 1

    async def _keep(self, slots: Slots) -> None:
        """Have a consumer, and another one when that is dead."""
        while not slots.has_enough or self._tally.aggregators < self._wanted.aggregators:
            point = slots.next_point()
            plan = draw(
                slots.chance, slots.subject, point, self._number(), self._lives.url, slots.target
            )
            consumer = await self._nursery.make(plan)
            life_s = _MOST_LIFE_S
            if point is Point.ANY:
                life_s = slots.chance.uniform(0, _ANY_LIFE_S)
                if slots.chance.random() < _SUSPENDED:
                    await asyncio.sleep(slots.chance.uniform(0, _ANY_LIFE_S))
                    await suspend(consumer, _SUSPENDED_S)
                    slots.tally.suspended += 1
            died_at = await self._outlive(consumer, point, life_s)
            slots.died(died_at, point)

    async def _outlive(self, consumer: Consumer, point: Point, life_s: float) -> Point:
        """Wait until it is dead; return where it died."""
        died_at = point
        try:
            async with asyncio.timeout(life_s):
                await asyncio.shield(consumer.ended)
        except TimeoutError:
            self._nursery.kill(consumer)
            died_at = Point.ANY
        await consumer.end(-signal.SIGKILL)
        return died_at

    async def _drain(self, slots: Slots) -> None:
        """Have consumed what is left, by a consumer that nobody disturbs."""
        plan = Plan(
            number=self._number(),
            url=self._lives.url,
            subscription=slots.subject.name,
            kind=slots.subject.kind,
            library=slots.subject.library,
            target=slots.target,
            way=Way.RUN_BATCHES,
            until_caught_up=True,
        )
        consumer = await self._nursery.make(plan)
        left, moved_s = await self._look(slots), time.monotonic()
        while left:
            assert time.monotonic() < moved_s + LIMIT_S, (
                f"{plan} leaves {left}: {consumer.written()}"
            )
            await asyncio.sleep(0.1)
            if (now := await self._look(slots)) < left:
                left, moved_s = now, time.monotonic()
        await consumer.end(0)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what did not hold, before what follows from it."""
    told, _ = group.split(AssertionError)
    error = (told or group).exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def run_consumer_campaign(
    database: Database,
    consumers_dsn: str,
    directory: Path,
    tally: ConsumerTally,
    wanted: Wanted,
) -> list[Found]:
    """Run a campaign on an empty database, and take its figures; see `ConsumerCampaign.run`.

    Args:
        database: of the aggregator.
        consumers_dsn: an empty Postgres database, of the consumers.
        directory: for files.
        tally: says the seed of all choices.
        wanted: what is to be done.

    Returns:
        What the judge has found, for each subscription that is wanted.
    """
    begun = time.monotonic()
    async with AsyncExitStack() as stack:
        lives = Lives(database, directory)
        stack.callback(lives.close)
        lives.spawn()
        nursery = await stack.enter_async_context(open_nursery(directory))
        client = await stack.enter_async_context(session())
        await make_tables(consumers_dsn, is_sqlite=False)
        await lives.until_listening()
        targets = (consumers_dsn, directory)
        campaign = ConsumerCampaign(lives, nursery, client, tally, wanted, targets)
        slots = await campaign.run()
        log = await read_topics(client, lives.url, [*TOPICS, BORDER], campaign.stored)
        found = [
            await settle_accounts(client, lives.url, slot.subject, slot.target, slot.tally, log)
            for slot in slots
        ]
        await lives.stop_and_verify()
    tally.seconds = time.monotonic() - begun
    return found
