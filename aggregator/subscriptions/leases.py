"""Leases as requests have them: what is handed out is decided, read, and waited for.

The database decides what a lease has, and its events are read then. What is cancelled on the way,
or can't be read, is released.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import uuid4

from msgspec.structs import replace

from aggregator.ingest.group_commit import ShuttingDown
from aggregator.live.waits import Wait, Waits
from aggregator.logging.observer_guard import log_failure
from aggregator.subscriptions.command_queue import CommandQueue
from aggregator.subscriptions.counters import SubscriptionCounters
from aggregator.subscriptions.delivery_reads import LEASE_BYTES, DeliveryReads
from aggregator.subscriptions.errors import NoSuchSubscription, SubscriptionRefused, refusal
from aggregator.subscriptions.filter_windows import MAX_WINDOWS, FilterWindows
from aggregator.subscriptions.known import KnownSubscription, KnownSubscriptions
from aggregator.wire.lease_request import LeaseRequest
from aggregator.wire.subscription_answers import LeaseAnswer
from storage.errors import StorageError
from storage.protocols import EventStore
from storage.subscriptions.commands import Lease, Settle, Token
from storage.subscriptions.outcomes import Granted, Leased, Refusal, Settled

_US_PER_S = 1_000_000


class _Taken(NamedTuple):
    """An answer, and what was decided for it."""

    answer: LeaseAnswer
    leased: Leased
    known: KnownSubscription
    wakes: int
    """What had been noticed before it was decided."""


class Leases:
    """Leases events of subscriptions.

    Args:
        store: is looked at.
        queue: has commands done.
        known: the subscriptions that are in use.
        reads: reads what is handed out.
        windows: finds what passes filters.
        waits: the room for those that wait.
        counters: counts leases.
    """

    def __init__(
        self,
        store: EventStore,
        queue: CommandQueue,
        known: KnownSubscriptions,
        reads: DeliveryReads,
        windows: FilterWindows,
        waits: Waits,
        counters: SubscriptionCounters,
    ) -> None:
        self._store = store
        self._queue = queue
        self._known = known
        self._reads = reads
        self._windows = windows
        self._waits = waits
        self._counters = counters
        self._giving_back: set[asyncio.Task[None]] = set()

    async def lease(self, name: str, request: LeaseRequest, settle: Settle | None) -> LeaseAnswer:
        """Lease events, as soon as there are any; see `SubscriptionService.lease`.

        Args:
            name: of the subscription.
            request: the lease that is asked for.
            settle: what is settled ahead of it, once.
        """
        taken = await self._take(name, request, settle)
        settled = taken.answer.settled
        if taken.answer.token is not None or not request.wait_ms:
            return taken.answer
        with suppress(ShuttingDown), self._waits.hold(request.wait_ms / 1000) as wait:
            self._counters.waits += 1
            self._known.on_waited_for()
            try:
                while not wait.ended:
                    # Who was forgotten meanwhile is looked up again: nobody would wake it.
                    if self._known.get(name) is taken.known:
                        await _sleep(taken, wait)
                    taken = await self._take(name, request, None)
                    if taken.answer.token is not None:
                        break
            finally:
                self._counters.waits -= 1
        return replace(taken.answer, settled=settled)

    async def release(self, name: str, token: Token) -> None:
        """Release what a lease still has.

        Raises what `SubscriptionService.settle` raises.
        """
        outcome = await self._queue.submit(Settle(name=name, token=token, release_rest=True))
        if isinstance(outcome, Refusal):
            raise refusal(outcome)

    async def _take(self, name: str, request: LeaseRequest, settle: Settle | None) -> _Taken:
        """Take what is there now; what is cancelled on the way is released."""
        taking = asyncio.create_task(self._take_now(name, request, settle))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            giving_back = asyncio.create_task(self._give_back(name, taking))
            self._giving_back.add(giving_back)
            giving_back.add_done_callback(self._giving_back.discard)
            raise

    async def _give_back(self, name: str, taking: "asyncio.Task[_Taken]") -> None:
        try:
            taken = await taking
            if taken.answer.token is not None:
                self._counters.unwritten += 1
                await self.release(name, taken.answer.token)
        except (StorageError, SubscriptionRefused, ShuttingDown):
            # It was not given, is over, or runs out.
            return
        except Exception as error:  # noqa: BLE001 - nobody else is told
            log_failure(self._give_back, error)

    async def _take_now(self, name: str, request: LeaseRequest, settle: Settle | None) -> _Taken:
        known = await self._known_of(name)
        wakes = known.sleepers.wakes
        leased, lease = await self._decide(known, request.max_events, settle)
        if not leased.granted:
            return _Taken(self._answer(known, leased, None, ()), leased, known, wakes)
        subscription = leased.subscription
        token = Token(subscription.id, lease, request.consumer, _extents(leased.granted))
        try:
            read = await self._reads.read(leased.granted)
            events = _count(read.granted)
            if events < _count(leased.granted):
                await self._trim(name, token, leased.granted, read.granted)
                token = Token(subscription.id, lease, request.consumer, _extents(read.granted))
        except BaseException:
            self._counters.unwritten += 1
            with suppress(StorageError, SubscriptionRefused, ShuttingDown):
                await self.release(name, token)
            raise
        known.mean_bytes = read.size // events
        known.given(read.granted[-1].topic)
        if leased.more:
            known.sleepers.wake()
        return _Taken(self._answer(known, leased, token, read.parts), leased, known, wakes)

    async def _decide(
        self, known: KnownSubscription, max_events: int, settle: Settle | None
    ) -> tuple[Leased, str]:
        """Have a lease decided, behind as many looks as are needed to know where to try."""
        if known.mean_bytes:
            max_events = min(max_events, LEASE_BYTES // known.mean_bytes + 1)
        name = known.subscription.name
        windows = 0
        settled: Settled | None = None
        has_looked = known.needs_look(found_nothing=False)
        if has_looked:
            await self._look(known)
        while True:
            topics = known.candidates()
            source = known.subscription.settings.source
            command = Lease(
                name=name,
                lease=uuid4().hex,
                max_events=max_events,
                topics=topics,
                all_topics=known.sees_all,
                windows={} if source is None else self._windows.known(source, topics),
                settle=settle,
            )
            outcome = await self._queue.submit(command)
            if isinstance(outcome, Refusal):
                if outcome.reason == NoSuchSubscription.reason:
                    self._known.forget(name)
                raise refusal(outcome)
            if not isinstance(outcome, Leased):
                raise TypeError(f"a lease has the outcome {type(outcome).__name__}")
            known.seen(outcome, topics)
            # It is done once, whatever is looked up for the lease.
            settle, settled = None, settled or outcome.settled
            if outcome.granted:
                return replace(outcome, settled=settled), command.lease
            source = outcome.subscription.settings.source
            if outcome.scan and source is not None and windows < MAX_WINDOWS:
                windows += 1
                await self._windows.find(source, outcome.scan)
            elif has_looked or not known.needs_look(found_nothing=True):
                return replace(outcome, settled=settled), command.lease
            else:
                has_looked = True
                await self._look(known)

    async def _look(self, known: KnownSubscription) -> None:
        if not await known.look(self._store):
            raise self._gone(known.subscription.name)

    async def _known_of(self, name: str) -> KnownSubscription:
        known = self._known.get(name)
        if known is None:
            subscription = await self._store.subscription(name)
            if subscription is None:
                raise self._gone(name)
            # Somebody else may have looked meanwhile.
            known = self._known.get(name) or self._known.add(subscription)
        return known

    def _gone(self, name: str) -> NoSuchSubscription:
        self._known.forget(name)
        return NoSuchSubscription(f"there is no subscription {name!r}")

    async def _trim(
        self, name: str, token: Token, granted: Sequence[Granted], read: Sequence[Granted]
    ) -> None:
        """Release what a lease can't have for its size: all behind what was read of it."""
        rest = deque(granted)
        for each in read:
            # What was read of a range may have come in parts.
            if rest[0].last == each.last:
                rest.popleft()
            else:
                rest[0] = replace(rest[0], first=each.last + 1)
        release = [(each.topic, each.first, each.last) for each in rest]
        outcome = await self._queue.submit(
            Settle(name=name, token=token, release=release, trims=True)
        )
        if isinstance(outcome, Refusal):
            raise refusal(outcome)
        if not isinstance(outcome, Settled):
            raise TypeError(f"a settle has the outcome {type(outcome).__name__}")

    def _answer(
        self,
        known: KnownSubscription,
        leased: Leased,
        token: Token | None,
        parts: Sequence[bytes],
    ) -> LeaseAnswer:
        lag_events, oldest_us = (
            (leased.lag_events, leased.oldest_us)
            if known.sees_all
            else (known.lag_events, known.oldest_us)
        )
        lag_us = max(0, leased.now_us - oldest_us) if lag_events and oldest_us is not None else 0
        return LeaseAnswer(
            token=token,
            now_us=leased.now_us,
            expires_us=leased.expires_us,
            deliveries=parts,
            lag_events=lag_events,
            lag_seconds=lag_us / _US_PER_S,
            settled=leased.settled,
        )


async def _sleep(taken: _Taken, wait: Wait) -> None:
    """Sleep until there may be something that was not there when a lease was decided."""
    sleepers, leased = taken.known.sleepers, taken.leased
    if sleepers.wakes != taken.wakes:
        return
    sleeper = sleepers.add()
    if leased.due_us is not None:
        sleepers.wake_in((leased.due_us - leased.now_us) / _US_PER_S)
    try:
        await wait.sleep(sleeper)
    except BaseException:
        if sleeper.done() and not sleeper.cancelled():
            # It was its turn, and it will not take what is there.
            sleepers.wake()
        raise
    finally:
        sleepers.remove(sleeper)


def _extents(granted: Sequence[Granted]) -> tuple[tuple[str, int, int], ...]:
    extents: dict[str, tuple[int, int]] = {}
    for each in granted:
        first, last = extents.get(each.topic, (each.first, each.last))
        extents[each.topic] = min(first, each.first), max(last, each.last)
    return tuple((topic, first, last) for topic, (first, last) in extents.items())


def _count(granted: Sequence[Granted]) -> int:
    return sum(each.last - each.first + 1 for each in granted)
