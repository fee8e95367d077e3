"""The service of subscriptions over a store, with its parts at hand."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aggregator.access.gate import EVERYBODY
from aggregator.live.heads import HeadWatch
from aggregator.live.log_chunks import LogChunks
from aggregator.live.shared_reads import SharedReads
from aggregator.live.waits import Waits
from aggregator.reading.read_memory import ReadMemory
from aggregator.subscriptions.assembly import SubscriptionParts, assemble
from aggregator.wire.lease_request import LeaseRequest
from aggregator.wire.settle_request import SettleRequest
from aggregator.wire.subscription_answers import LeaseAnswer
from storage.errors import StorageError
from storage.model import Event, Page, Query
from storage.protocols import EventStore
from storage.subscriptions.commands import Range
from storage.subscriptions.model import Beginning, SubscriptionSettings
from storage.subscriptions.outcomes import Settled

START = Beginning(at="start")


class Consuming:
    """A service, the store under it, and what tests ask of both."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.suspected: list[StorageError] = []
        self.waits = Waits(HeadWatch(), SharedReads(HeadWatch(), _no_page), max_waits=1000)
        self.parts: SubscriptionParts = assemble(
            store=store,
            chunks=LogChunks(store, ReadMemory(2**28), 2**22),
            waits=self.waits,
            memory=ReadMemory(2**28),
            max_lease_bytes=2**25,
            suspect=self.suspected.append,
        )
        self.service = self.parts.service

    async def make(self, *topics: str, name: str = "s", **settings: Any) -> None:
        """Make a subscription to topics, from the start unless told otherwise."""
        settings = {"begins": START, **settings}
        wanted = SubscriptionSettings(topics=tuple(sorted(topics)), **settings)
        assert await self.service.put(name, wanted, EVERYBODY.entry)

    async def publish(
        self, topic: str, count: int, *, source: str = "shop", payload: str = "{}", first: int = 0
    ) -> None:
        """Store events with ids of their own, and tell of the flush as group commit does."""
        batch = [Event(topic, f"{source}-{first + n}", 0, source, payload) for n in range(count)]
        appended = await self.store.append(batch)
        counted = Counter((verdict.topic, verdict.status) for verdict in appended.verdicts)
        if self.parts.notices:
            self.parts.notices.stored(counted)

    async def lease(
        self,
        max_events: int = 100,
        *,
        name: str = "s",
        wait_ms: int = 0,
        consumer: str = "c",
        settle: SettleRequest | None = None,
    ) -> LeaseAnswer:
        """Ask for a lease, behind what is settled."""
        request = LeaseRequest(consumer, max_events, wait_ms, settle)
        answer = await self.service.lease(name, request)
        answer.done()
        return answer

    async def settle(
        self, answer: LeaseAnswer, *, name: str = "s", ack: Sequence[Range] | None = None
    ) -> Settled:
        """Acknowledge all of a lease, or ranges of it."""
        assert answer.token is not None
        request = SettleRequest(
            token=answer.token, ack=answer.token.extents if ack is None else ack
        )
        return await self.service.settle(name, request)


def given(answer: LeaseAnswer) -> list[tuple[str, int, int]]:
    """Topic, offset and number of delivery of each event of a lease."""
    return [
        (each["event"]["topic"], each["event"]["offset"], each["delivery"])
        for each in json.loads(b"[" + b",".join(answer.deliveries) + b"]")
    ]


def offsets(answer: LeaseAnswer) -> list[int]:
    """The offsets of the events of a lease."""
    return [offset for _, offset, _ in given(answer)]


@asynccontextmanager
async def consuming(store: EventStore) -> AsyncIterator[Consuming]:
    """A service over an open store, for as long as the context lasts."""
    made = Consuming(store)
    try:
        yield made
    finally:
        await made.parts.queue.drain(30)
        await made.parts.aclose()


async def _no_page(query: Query) -> Page[bytes]:
    raise AssertionError(f"a lease reads no page: {query}")
