"""Leases as requests have them: what is handed out is decided, read, and waited for.

The database decides what a lease has, and its events are read then. What is cancelled on the way,
or can't be read, is released.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import uuid4

from msgspec.structs import replace

from aggregator.ingest.group_commit import ShuttingDown
from aggregator.live.waits import Wait, Waits
from aggregator.logging.observer_guard import log_failure
from aggregator.reading.bounded_read import EXPECTED_PAYLOAD_BYTES
from aggregator.reading.read_memory import ReadMemory
from aggregator.subscriptions.command_queue import CommandQueue
from aggregator.subscriptions.counters import SubscriptionCounters
from aggregator.subscriptions.delivery_reads import LEASE_BYTES
from aggregator.subscriptions.errors import NoSuchSubscription, SubscriptionRefused, refusal
from aggregator.subscriptions.filter_windows import MAX_WINDOWS, FilterWindows
from aggregator.subscriptions.known import KnownSubscription, KnownSubscriptions
from aggregator.subscriptions.lease_reads import LeaseReads, count
from aggregator.wire.lease_request import LeaseRequest
from aggregator.wire.subscription_answers import LeaseAnswer
from storage.errors import StorageError
from storage.protocols import EventStore
from storage.subscriptions.commands import Lease, Settle, Token
from storage.subscriptions.outcomes import Leased, Refusal, Settled

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
        room: the memory of answers that are read, or on their way.
        counters: counts leases.
    """

    def __init__(
        self,
        store: EventStore,
        queue: CommandQueue,
        known: KnownSubscriptions,
        reads: LeaseReads,
        windows: FilterWindows,
        waits: Waits,
        room: ReadMemory,
        counters: SubscriptionCounters,
    ) -> None:
        self._store = store
        self._queue = queue
        self._known = known
        self._reads = reads
        self._windows = windows
        self._waits = waits
        self._room = room
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
            try:
                while not wait.ended:
                    # Who was forgotten meanwhile is looked up again: nobody would wake it.
                    if self._known.get(name) is taken.known:
                        # Who looks for it may have stopped while nobody slept.
                        self._known.on_waited_for()
                        await _sleep(taken, wait)
                    taken = await self._take(name, request, None)
                    if taken.answer.token is not None:
                        break
            finally:
                self._counters.waits -= 1
        return replace(taken.answer, settled=settled)

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
            taken.answer.done()
            if taken.answer.token is not None:
                self._counters.unwritten += 1
                await self._reads.release(name, taken.answer.token)
        except (StorageError, SubscriptionRefused, ShuttingDown):
            # It was not given, is over, or runs out.
            return
        except Exception as error:  # noqa: BLE001 - nobody else is told
            log_failure(self._give_back, error)

    async def _take_now(self, name: str, request: LeaseRequest, settle: Settle | None) -> _Taken:
        known = await self._known_of(name)
        # Ahead of the lease, whose time must not run while it waits for its turn.
        size = 2 * known.mean_bytes or EXPECTED_PAYLOAD_BYTES
        room = await self._reserve(request.max_events * size)
        try:
            wakes = known.sleepers.wakes
            leased, lease = await self._decide(known, request.max_events, settle)
            if not leased.granted:
                room()
                return _Taken(self._answer(known, leased, None, ()), leased, known, wakes)
            token, read = await self._reads.read(name, request.consumer, lease, leased)
        except BaseException:
            room()
            raise
        known.mean_bytes = max(1, read.size // count(read.granted))
        known.given(read.granted[-1].topic)
        if leased.more:
            known.sleepers.wake()
        answer = replace(self._answer(known, leased, token, read.parts), done=room)
        return _Taken(answer, leased, known, wakes)

    async def _reserve(self, size: int) -> Callable[[], None]:
        """Reserve memory for an answer; return what frees it, once however often it is called."""
        size = min(size, LEASE_BYTES)
        await self._room.acquire(size)
        reserved = [size]

        def free() -> None:
            while reserved:
                self._room.release(reserved.pop())

        return free

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
