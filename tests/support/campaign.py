"""A crash campaign: aggregators under load are killed again and again on one database.

Publishers (`campaign_publishers`) send to whichever aggregator serves. A round picks some
aggregators and a moment, ends them with SIGKILL, starts as many on the same database and
holds everything that is stored against everything that was told (`campaign_record`). Those
that were not picked go on all the while. Every choice comes from the seed; how far the
machine gets between two of them does not.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from support.backends import Database
from support.campaign_consuming import Consuming
from support.campaign_lives import Life, Lives, Moment
from support.campaign_publishers import Contested, Publisher
from support.campaign_record import Broken, Record
from support.campaign_sessions import Sessions, sessions_of
from support.campaign_tally import Tally
from support.load import CUT_OFF, LIMIT_S, check_conservation, get_json, session, until

PUBLISHERS = 8
_MOST_ANSWERS = 30
"""Fewer requests than this end before the next kill."""

_WHOLE_LOG_ROUNDS = 15
"""The log is read from its start again every so many rounds, and at the end."""

_PAGE_EVENTS = 2_000


class Campaign:
    """A campaign under way.

    Args:
        lives: the aggregators to be.
        sessions: how they are seen from the database.
        client: what all requests are sent with.
        chance: decides who is killed, and when.
        tally: kept up to date on the way.
        record: of what was sent and found.
        consuming: the subscriptions, if there are any.
    """

    def __init__(
        self,
        lives: Lives,
        sessions: Sessions,
        client: aiohttp.ClientSession,
        chance: random.Random,
        tally: Tally,
        record: Record,
        consuming: Consuming,
    ) -> None:
        self._lives = lives
        self._sessions = sessions
        self._client = client
        self._chance = chance
        self._tally = tally
        self._record = record
        self._consuming = consuming
        self._publishing = 0
        self._ending = False
        self._answers = 0
        self._answered_by = 0
        self._answered = asyncio.Event()
        self._drain_s = 0.04

    async def run(self, moments: Sequence[Moment]) -> None:
        """Kill at each of these moments in turn, and check after every restart.

        Raises:
            AssertionError: the first thing that did not hold; `Broken` if it is a guarantee.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                contested = Contested()
                for number in range(PUBLISHERS):
                    tasks.create_task(self._publish(number, contested))
                watching = tasks.create_task(self._watch_stats())
                await self._start_on_nothing(tasks)
                for number, moment in enumerate(moments, start=1):
                    killed = self._tally.kills[moment]
                    await self._round(moment, whole_log=number % _WHOLE_LOG_ROUNDS == 0)
                    while self._tally.kills[moment] == killed:
                        # It had drained before the kill came: sooner, then.
                        self._drain_s /= 2
                        await self._round(moment)
                await self._finish()
                watching.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _publish(self, number: int, contested: Contested) -> None:
        chance = random.Random(f"{self._tally.seed}/{number}")
        publisher = Publisher(number, chance, contested, self._record, self._lives.find, self._hear)
        self._publishing += 1
        while not self._ending:
            if len(self._lives.serving) < self._tally.aggregators:
                # A start takes far longer than a round needs: the log would grow for nothing.
                await asyncio.sleep(chance.random() / 10)
            await publisher.publish_one(self._client)
        self._publishing -= 1

    def _hear(self, number: int) -> None:
        self._answers += 1
        self._answered_by = number
        self._answered.set()

    async def _watch_stats(self) -> None:
        """Whatever is going on, the counts of any aggregator fit together and never fall."""
        chance = random.Random(self._tally.seed)
        received = 0
        while True:
            await asyncio.sleep(0.05)
            if not self._lives.serving:
                continue
            life = chance.choice(self._lives.serving)
            try:
                async with self._client.get(f"{life.url}/stats") as response:
                    stats = await response.json(content_type=None)
            except CUT_OFF:
                continue
            if response.status != 200:
                continue
            check_conservation(stats)
            if stats["received"] < received:
                raise Broken(f"received was {received}, and is now {stats['received']}")
            received = stats["received"]

    async def _start_on_nothing(self, tasks: asyncio.TaskGroup) -> None:
        """The first starts, on an empty database: cut short, the schema half made."""
        count = self._tally.aggregators
        await self._lives.start_and_kill(count, Moment.OPENING)
        await self._lives.start_and_kill(count, Moment.STARTING)
        new = await self._lives.start(count)
        await self._sessions.slow_commits()
        await self._consuming.begin(new[0].url, tasks)
        self._lives.open(new)

    async def _round(self, moment: Moment, *, whole_log: bool = False) -> None:
        if moment in {Moment.STARTING, Moment.OPENING}:
            dead = await self._kill(Moment.LOADED)
            await self._lives.start_and_kill(len(dead), moment)
        else:
            dead = await self._kill(moment)
        new = await self._lives.start(len(dead))
        await self._check(dead, new, whole_log=whole_log)
        self._lives.open(new)

    async def _kill(self, moment: Moment) -> list[Life]:
        wanted = self._answers + self._chance.randrange(_MOST_ANSWERS)
        await until(lambda: self._answers >= wanted or self._stuck())
        dead = self._victims()
        if moment is Moment.ANSWERED and not self._stuck():
            self._answered.clear()
            async with asyncio.timeout(LIMIT_S):
                await self._answered.wait()
            dead += [
                life
                for life in self._lives.serving
                if life.number == self._answered_by and life not in dead
            ]
        elif moment is Moment.IDLE:
            self._lives.shut()
            await until(lambda: all(attempt.over for attempt in self._record.open))
        else:
            # Anywhere within the next few transactions.
            await asyncio.sleep(self._chance.random() / 50)
        if moment is Moment.DRAINING:
            for life in dead:
                life.aggregator.process.terminate()
            await asyncio.sleep(self._chance.random() * self._drain_s)
        await self._lives.kill(dead, moment)
        return dead

    def _victims(self) -> list[Life]:
        serving = self._lives.serving
        (count,) = self._chance.choices((1, 2, len(serving)), (3, 1, 1))
        return self._chance.sample(serving, min(count, len(serving)))

    def _stuck(self) -> bool:
        """Whether every publisher has a request that can be judged after a kill alone."""
        return sum(attempt.over for attempt in self._record.open) == self._publishing

    async def _check(self, dead: Sequence[Life], new: Sequence[Life], *, whole_log: bool) -> None:
        """Hold what is stored against what was told, and judge what the dead left open."""
        record = self._record
        gone = {life.number for life in dead}
        await until(lambda: all(a.over for a in record.open if a.to in gone))
        await self._sessions.settled()
        doubtful = [attempt for attempt in record.open if attempt.to in gone]
        quiet = not self._lives.is_open and len(doubtful) == len(record.open)
        verdicts = record.to_check()
        url = self._chance.choice([*new, *self._lives.serving]).url
        for topic in sorted(record.topics):
            await self._read_on(url, topic)
            await self._read_again(url, topic, whole_log=whole_log)
        for attempt in doubtful:
            record.agree(attempt.own, await self._look_up(url, *attempt.own))
        record.check(verdicts)
        record.judge(doubtful)
        least = record.settled()
        stats = await get_json(self._client, f"{url}/stats")
        record.check_stats(least, stats, quiet=quiet)
        await self._consuming.check(url, recount=whole_log)
        self._lives.check_running()

    async def _read_on(self, url: str, topic: str) -> None:
        log = self._record.log[topic]
        while events := await self._page(url, topic, len(log), _PAGE_EVENTS):
            self._record.take(topic, events)

    async def _read_again(self, url: str, topic: str, *, whole_log: bool) -> None:
        """Read the log from its start, or a stretch of it, once more."""
        known = len(self._record.log[topic])
        if whole_log:
            after = 0
        else:
            after = self._chance.randrange(known + 1)
            known = min(known, after + 100)
        while after < known:
            events = await self._page(url, topic, after, min(_PAGE_EVENTS, known - after))
            self._record.compare(topic, after, events)
            after += len(events)

    async def _page(self, url: str, topic: str, after: int, limit: int) -> list[dict[str, Any]]:
        target = f"{url}/events?topic={topic}&after={after}&limit={limit}"
        events: list[dict[str, Any]] = await get_json(self._client, target)
        return events

    async def _look_up(self, url: str, topic: str, event_id: str) -> int | None:
        async with self._client.get(f"{url}/events/{topic}/{event_id}") as response:
            if response.status == 404:
                return None
            assert response.status == 200, await response.text()
            offset: int = (await response.json())["offset"]
            return offset

    async def _finish(self) -> None:
        """Have every request acknowledged, and read all of the log."""
        self._ending = True
        while self._publishing:
            await until(lambda: not self._publishing or self._stuck())
            if self._publishing:
                await self._round(Moment.LOADED)
        await self._consuming.finish()
        self._lives.shut()
        await self._check([], [], whole_log=True)
        self._tally.unique = sum(map(len, self._record.log.values()))


async def run_campaign(
    database: Database,
    directory: Path,
    moments: Sequence[Moment],
    tally: Tally,
    doctored: str | None = None,
    consumed: Sequence[str] = (),
) -> None:
    """Run a campaign on an empty database; see `Campaign.run`.

    Args:
        database: an empty database.
        directory: for the logs of the aggregators that run.
        moments: the kills; a start that is cut short comes after a kill under load.
        tally: says how many aggregators share the database, and the seed of all choices.
        doctored: the protection that is taken away, by its name in `support.doctored`.
        consumed: the subscriptions, of `campaign_consuming.SUBSCRIPTIONS`, that are consumed.
    """
    chance = random.Random(f"{tally.seed}/{tally.backend}/{tally.aggregators}")
    begun = time.monotonic()
    async with sessions_of(database) as sessions, session() as client:
        lives = Lives(database, directory, doctored, sessions, chance, tally)
        record = Record(tally)
        consuming = Consuming(database, lives, client, record, tally, directory, consumed)
        campaign = Campaign(lives, sessions, client, chance, tally, record, consuming)
        try:
            await campaign.run(moments)
            await consuming.check_end()
            await lives.stop()
        finally:
            lives.close()
            tally.seconds = time.monotonic() - begun
