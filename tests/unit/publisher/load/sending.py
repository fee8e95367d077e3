"""A plan that is being sent, to the real application behind something in the way."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web
from support.proxy import Forward

from publisher.load.content import Content
from publisher.load.findings import Findings
from publisher.load.key_ids import ids_for
from publisher.load.measurements import Measurements
from publisher.load.plan import Plan, Shape
from publisher.load.read_back import Reader, Stats
from publisher.load.sender import Sender
from publisher.load.stats_check import check_increase
from publisher.load.verdict_check import VerdictCheck
from publisher.retry import RetryPolicy

Serve = Callable[..., Awaitable[str]]
"""`await serve(in_the_way, **settings)`."""

TOPICS = ("auth", "orders", "payment")
HASTY = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=30.0)
LIMIT_S = 30.0


async def nothing(request: web.Request, body: bytes, forward: Forward) -> web.Response:
    return await forward()


class Sending:
    """A plan that is being sent to a URL."""

    def __init__(
        self, url: str, *, rate: float | None = None, policy: RetryPolicy = HASTY, **shape: int
    ) -> None:
        defaults = {
            "events": 400,
            "duplicates": 120,
            "conflicts": 0,
            "batch": 20,
            "topics": 3,
            "concurrency": 4,
            "seed": 1,
        }
        self.url = url
        self.plan = Plan(Shape(**(defaults | shape)))
        content = Content(self.plan, ids_for("uuid7", "run"), TOPICS, 150)
        self.findings = Findings()
        self.verdicts = VerdictCheck(self.plan, content, [0, 0, 0], self.findings)
        self.measured = Measurements()
        self.done = 0
        self.sender = Sender(
            self.plan,
            content,
            self.verdicts,
            self.measured,
            rate=rate,
            policy=policy,
            on_events=self._add_done,
        )

    def _add_done(self, events: int) -> None:
        self.done += events

    async def run(self) -> None:
        """Send everything."""
        async with aiohttp.ClientSession() as session, asyncio.timeout(LIMIT_S):
            await self.sender.run(session, self.url)

    async def stats(self) -> Stats:
        """Read the counts of the aggregator."""
        async with aiohttp.ClientSession() as session:
            return await Reader(session, self.url, LIMIT_S).stats()

    async def differences(self) -> list[str]:
        """Return the differences of counts and offsets."""
        before = Stats(0, 0, 0, 0, {})
        check_increase(self.plan, TOPICS, before, await self.stats(), self.verdicts, self.findings)
        self.verdicts.finish()
        return [finding.sentence for finding in self.findings.listed]
