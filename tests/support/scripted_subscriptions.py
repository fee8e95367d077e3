"""The routes of subscriptions over a service whose answers are a script."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient

from aggregator.access.entries import Entry
from aggregator.access.gate import Gate
from aggregator.app import PENDING_RESPONSES
from aggregator.http.browser_guard import BrowserGuard
from aggregator.http.compression import Compression
from aggregator.http.middleware import around_requests
from aggregator.http.pending_responses import PendingResponses
from aggregator.http.response_sender import ResponseSender
from aggregator.http.rights import BROWSER_GUARD, GATE
from aggregator.http.subscription_routes import SubscriptionRoutes
from aggregator.observability.access_log import AccessLog
from aggregator.reading.read_limit import ReadLimit
from aggregator.wire.lease_request import LeaseRequest
from aggregator.wire.settle_request import SettleRequest
from aggregator.wire.subscription_answers import LeaseAnswer, SubscriptionStatus, TopicCounts
from storage.subscriptions.commands import Change, Range, Token
from storage.subscriptions.model import (
    Beginning,
    FailedEvent,
    Subscription,
    SubscriptionSettings,
)
from storage.subscriptions.outcomes import Retried, Settled, Sought
from support.http import Client
from support.served import Served

LIMIT_S = 30.0
TOKEN = Token("s-1", "l-1", "worker-1", (("orders", 1, 2),))
SETTINGS = SubscriptionSettings(topics=("orders",))
COUNTS = TopicCounts(150, 0, 100, 0, 10, 40, 0, 3, 50, 1.25)


def subscription(name: str = "billing", **changes: Any) -> Subscription:
    """A subscription to `orders`."""
    return Subscription(name=name, id="s-1", settings=SETTINGS, **changes)


def status(**changes: Any) -> SubscriptionStatus:
    """A subscription to one topic with its counts."""
    values: dict[str, Any] = {
        "subscription": subscription(),
        "totals": COUNTS,
        "topics": {"orders": COUNTS},
        "topics_total": 1,
        "more": False,
    }
    return SubscriptionStatus(**(values | changes))


def leased(*deliveries: bytes, token: Token | None = TOKEN) -> LeaseAnswer:
    """A lease with these deliveries, or none."""
    return LeaseAnswer(token, 1_000_000, 31_000_000, deliveries, 42, 3.1)


def failed(offset: int, topic: str = "orders") -> FailedEvent:
    """A dead letter."""
    return FailedEvent(
        topic=topic,
        offset=offset,
        deliveries=5,
        first_error="a",
        last_error=None,
        first_failed_us=0,
        dead_us=1_000_000,
    )


class ScriptedSubscriptions:
    """A service of subscriptions that answers as a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        """Name and arguments of every call but those of `status`."""
        self.errors: dict[str, Exception] = {}
        """What a method raises, by name."""
        self.made = True
        self.answer = status()
        self.found: list[Subscription] = []
        self.letters: list[tuple[FailedEvent, bytes]] = []
        self.leases: list[LeaseAnswer] = []
        """The answers to leases, in turn; then a lease waits."""
        self.waiting: list[asyncio.Future[LeaseAnswer]] = []
        """The answers that leases have waited for, in the order in which they began."""
        self.cancelled = 0
        """Leases that were cancelled while they waited."""
        self.changed = asyncio.Event()
        """Set whenever something happens."""

    def _call(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        self.changed.set()
        if name in self.errors:
            raise self.errors[name]

    async def until(self, name: str) -> tuple[Any, ...]:
        """Wait for a call, and give its arguments back."""
        await self._until(lambda: any(call[0] == name for call in self.calls))
        return next(call[1:] for call in self.calls if call[0] == name)

    async def until_waiting(self, count: int) -> None:
        """Wait until so many leases have waited."""
        await self._until(lambda: len(self.waiting) >= count)

    async def until_cancelled(self) -> None:
        """Wait until a lease was cancelled."""
        await self._until(lambda: self.cancelled > 0)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def put(self, name: str, settings: SubscriptionSettings, _entry: Entry) -> bool:
        self._call("put", name, settings)
        return self.made

    async def change(self, change: Change) -> None:
        self._call("change", change)

    async def delete(self, name: str) -> None:
        self._call("delete", name)

    async def pause(self, name: str) -> None:
        self._call("pause", name)

    async def resume(self, name: str) -> None:
        self._call("resume", name)

    async def listed(self, after: str, limit: int) -> list[Subscription]:
        self._call("listed", after, limit)
        return self.found[:limit]

    async def status(self, name: str, topics_after: str) -> SubscriptionStatus:
        if "status" in self.errors:
            raise self.errors["status"]
        self.asked = name, topics_after
        return self.answer

    async def check_topics(self, name: str, entry: Entry) -> None:
        """Everybody may read all."""

    async def lease(self, name: str, request: LeaseRequest) -> LeaseAnswer:
        self._call("lease", name, request)
        if self.leases:
            return self.leases.pop(0)
        self.waiting.append(asyncio.get_running_loop().create_future())
        self.changed.set()
        try:
            return await self.waiting[-1]
        except asyncio.CancelledError:
            self.cancelled += 1
            self.changed.set()
            raise

    async def settle(self, name: str, request: SettleRequest) -> Settled:
        self._call("settle", name, request)
        return Settled(
            acknowledged=24, retried=1, dead=1, released=18, now_us=1_000_000, expires_us=3_500_000
        )

    async def released(self, name: str, token: Token) -> None:
        self._call("released", name, token)

    async def seek(self, name: str, begins: Beginning, dry_run: bool) -> Sought:
        self._call("seek", name, begins, dry_run)
        return Sought(3, 4)

    async def dead_letters(
        self, name: str, after: tuple[str, int], limit: int
    ) -> list[tuple[FailedEvent, bytes]]:
        self._call("dead_letters", name, after, limit)
        return self.letters[:limit]

    async def retry_dead(self, name: str, offsets: Sequence[Range] | None) -> Retried:
        self._call("retry_dead", name, offsets)
        return Retried(1, 2)

    async def drop_dead(self, name: str, topic: str, offset: int) -> None:
        self._call("drop_dead", name, topic, offset)


class ServedSubscriptions:
    """The routes behind a socket.

    Attributes:
        service: behind the routes.
        served: the server.
        client: of the server.
        finished: route and status of each request that is over.
    """

    def __init__(self) -> None:
        self.service = ScriptedSubscriptions()
        self.finished: list[tuple[str, int]] = []
        pending = PendingResponses(max_bytes=2**26, timeout_s=LIMIT_S)
        log = AccessLog(lambda route, status, _ms: self.finished.append((route, status)))
        self._compression = Compression()
        sender = ResponseSender(pending, self._compression)
        app = web.Application(middlewares=[around_requests(sender, log)])
        app[PENDING_RESPONSES] = pending
        app[GATE] = Gate(None)
        app[BROWSER_GUARD] = BrowserGuard()
        app.add_routes(
            SubscriptionRoutes(
                service=self.service, reads=ReadLimit(1), body_timeout_s=LIMIT_S
            ).routes()
        )
        self.served = Served(app, fast_path=False)
        self.client: Client = TestClient(self.served)

    async def open(self) -> None:
        """Serve."""
        await self.served.start_server(auto_decompress=False)
        await self.client.start_server()

    async def aclose(self) -> None:
        """Serve no more."""
        await self.client.close()
        self._compression.close()


@asynccontextmanager
async def serving_subscriptions() -> AsyncIterator[ServedSubscriptions]:
    """The routes behind a socket, over a service whose answers are a script."""
    serving = ServedSubscriptions()
    await serving.open()
    try:
        yield serving
    finally:
        await serving.aclose()
