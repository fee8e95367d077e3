"""The service of subscriptions: every request of theirs, behind its route."""

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from aggregator.access.checks import EVERY_TOPIC, check_covered
from aggregator.access.entries import Entry
from aggregator.reading.bounded_read import read_array
from aggregator.reading.read_memory import ReadMemory
from aggregator.subscriptions.beginnings import existing_topics, starts
from aggregator.subscriptions.command_queue import CommandQueue
from aggregator.subscriptions.counters import SubscriptionCounters
from aggregator.subscriptions.errors import InvalidCommand, NoSuchSubscription, refusal
from aggregator.subscriptions.lease_reads import LeaseReads
from aggregator.subscriptions.leases import Leases
from aggregator.subscriptions.making_limit import check_subscription_limit
from aggregator.subscriptions.statuses import status_of
from aggregator.subscriptions.upkeep import Upkeep
from aggregator.wire.lease_request import LeaseRequest
from aggregator.wire.settle_request import SettleRequest
from aggregator.wire.subscription_answers import LeaseAnswer, SubscriptionStatus
from storage.model import Query
from storage.protocols import EventStore
from storage.subscriptions.administration import compared
from storage.subscriptions.commands import (
    Change,
    Command,
    Create,
    Delete,
    DropDead,
    Pause,
    Range,
    RetryDead,
    Seek,
    Settle,
    Token,
)
from storage.subscriptions.model import (
    Beginning,
    FailedEvent,
    Subscription,
    SubscriptionSettings,
)
from storage.subscriptions.outcomes import Done, Kept, Outcome, Refusal, Retried, Settled, Sought
from storage.topic_patterns import TopicSelection

_PAUSED = "paused by request"
_DEAD_BYTES = 8 * 2**20
"""A page of dead letters ends once its events take so many bytes."""

_DIGEST_BYTES = 16

_Kind = TypeVar("_Kind", bound=Outcome)

_encode = msgspec.json.encode


class Subscriptions:
    """A `SubscriptionService` over a store.

    Args:
        store: is looked at.
        queue: has commands done.
        leases: leases events.
        reads: releases what its consumer does not get.
        memory: the memory of reads.
        upkeep: forgets settles.
        counters: counts leases that were not written.
    """

    def __init__(
        self,
        store: EventStore,
        queue: CommandQueue,
        leases: Leases,
        reads: LeaseReads,
        memory: ReadMemory,
        upkeep: Upkeep,
        counters: SubscriptionCounters,
    ) -> None:
        self._store = store
        self._queue = queue
        self._leases = leases
        self._reads = reads
        self._memory = memory
        self._upkeep = upkeep
        self._counters = counters
        self._making = asyncio.Lock()

    async def put(self, name: str, settings: SubscriptionSettings, entry: Entry) -> bool:
        """See `SubscriptionService.put`."""
        if (rule := settings.rule_broken()) is not None:
            raise InvalidCommand(rule)
        there = await self._store.subscription(name)
        if there is not None:
            if (refused := compared(there, settings)) is not None:
                raise refusal(refused)
            return False
        if entry.limits.subscriptions is None:
            return await self._make(name, settings)
        # One after the other, or two would take the place that is left for one.
        async with self._making:
            await check_subscription_limit(self._store, entry)
            return await self._make(name, settings)

    async def change(self, change: Change) -> None:
        """See `SubscriptionService.change`."""
        if change.topics is not msgspec.UNSET:
            heads = await existing_topics(self._store, TopicSelection(change.topics))
            change = replace(change, heads=heads)
        await self._do(change, Kept)

    async def delete(self, name: str) -> None:
        """See `SubscriptionService.delete`."""
        await self._do(Delete(name), Done)

    async def pause(self, name: str) -> None:
        """See `SubscriptionService.pause`."""
        await self._do(Pause(name, _PAUSED), Kept)

    async def resume(self, name: str) -> None:
        """See `SubscriptionService.resume`."""
        await self._do(Pause(name, None), Kept)

    async def listed(self, after: str, limit: int) -> list[Subscription]:
        """See `SubscriptionService.listed`."""
        return await self._store.subscriptions(after=after, limit=limit)

    async def status(self, name: str, topics_after: str) -> SubscriptionStatus:
        """See `SubscriptionService.status`."""
        status = await status_of(self._store, name, topics_after)
        if status is None:
            raise _no_such(name)
        return status

    async def check_topics(self, name: str, entry: Entry) -> None:
        """See `SubscriptionService.check_topics`."""
        if not entry.covers_read(EVERY_TOPIC):
            check_covered(entry, (await self._there(name)).settings.topics)

    async def lease(self, name: str, request: LeaseRequest) -> LeaseAnswer:
        """See `SubscriptionService.lease`."""
        if request.settle is None:
            return await self._leases.lease(name, request, None)
        answer = await self._leases.lease(name, request, _command(name, request.settle))
        self._upkeep.start()
        return answer

    async def settle(self, name: str, request: SettleRequest) -> Settled:
        """See `SubscriptionService.settle`."""
        settled = await self._do(_command(name, request), Settled)
        self._upkeep.start()
        return settled

    async def released(self, name: str, token: Token) -> None:
        """See `SubscriptionService.released`."""
        self._counters.unwritten += 1
        await self._reads.release(name, token)

    async def seek(self, name: str, begins: Beginning, dry_run: bool) -> Sought:  # noqa: FBT001
        """See `SubscriptionService.seek`."""
        subscription = await self._there(name)
        wanted = TopicSelection(subscription.settings.topics)
        return await self._do(
            Seek(name, await starts(self._store, begins, wanted), dry_run), Sought
        )

    async def dead_letters(
        self, name: str, after: tuple[str, int], limit: int
    ) -> list[tuple[FailedEvent, bytes]]:
        """See `SubscriptionService.dead_letters`."""
        subscription = await self._there(name)
        letters: list[tuple[FailedEvent, bytes]] = []
        size = 0
        for each in await self._store.dead_letters(subscription.id, after=after, limit=limit):
            event = await self._event(each.topic, each.offset)
            letters.append((each, event))
            size += len(event)
            if size >= _DEAD_BYTES:
                break
        return letters

    async def retry_dead(self, name: str, offsets: Sequence[Range] | None) -> Retried:
        """See `SubscriptionService.retry_dead`."""
        return await self._do(RetryDead(name, offsets), Retried)

    async def drop_dead(self, name: str, topic: str, offset: int) -> None:
        """See `SubscriptionService.drop_dead`."""
        await self._do(DropDead(name, topic, offset), Done)

    async def _there(self, name: str) -> Subscription:
        subscription = await self._store.subscription(name)
        if subscription is None:
            raise _no_such(name)
        return subscription

    async def _make(self, name: str, settings: SubscriptionSettings) -> bool:
        first = await starts(self._store, settings.begins, TopicSelection(settings.topics))
        made = Subscription(name=name, id=str(uuid4()), settings=settings)
        return (await self._do(Create(made, first), Kept)).made

    async def _do(self, command: Command, kind: type[_Kind]) -> _Kind:
        outcome = await self._queue.submit(command)
        if isinstance(outcome, Refusal):
            raise refusal(outcome)
        if not isinstance(outcome, kind):
            raise TypeError(f"{type(command).__name__} has the outcome {type(outcome).__name__}")
        return outcome

    async def _event(self, topic: str, offset: int) -> bytes:
        query = Query(topic=topic, after=offset - 1, newest_first=False, limit=1)
        page = await read_array(self._store, self._memory, query)
        return b"".join(page.parts)[1:-1]


def _command(name: str, request: SettleRequest) -> Settle:
    return Settle(
        name=name,
        token=request.token,
        ack=request.ack,
        retry=request.retry,
        dead=request.dead,
        release=request.release,
        extend_ms=request.extend_ms,
        digest=_digest(request),
    )


def _digest(request: SettleRequest) -> bytes:
    settles = (request.ack, request.retry, request.dead, request.release)
    if not any(settles):
        return b""
    return blake2b(_encode(settles), digest_size=_DIGEST_BYTES).digest()


def _no_such(name: str) -> NoSuchSubscription:
    return NoSuchSubscription(f"there is no subscription {name!r}")
