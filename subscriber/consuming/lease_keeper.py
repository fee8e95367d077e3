"""The keeper of leases: it settles what is handled, and extends what is not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from subscriber.calls.requests import CallFailed, Calls, Leased
from subscriber.consuming.attempts import Attempts
from subscriber.consuming.held_lease import HeldLease
from subscriber.errors import LeaseLost

_FINISHED_S = 0.002
"""How long a lease that is done waits for a request for the next one to go along with."""

_ATTEMPTS_OF_A_LEASE = 3
"""An attempt to settle is given up in time for so many."""

_MIN_ATTEMPT_S = 1.0


class LeaseKeeper:
    """Keeps leases: settles together what was handled, and extends leases in time.

    The aggregator remembers the last lease that a consumer has ended, so that an answer which was
    lost can be asked for again. Therefore one settle is under way at a time.

    Args:
        calls: send the requests.
        name: of the subscription.
        attempts: when to try again.
        keeps_order: whether the subscription does.
        ack_within_s: how long an acknowledgement may wait for others, in seconds.
        changed: called when a lease came, is over, or has fewer open deliveries.
    """

    def __init__(
        self,
        calls: Calls,
        name: str,
        attempts: Attempts,
        *,
        keeps_order: bool,
        ack_within_s: float,
        changed: Callable[[], None],
    ) -> None:
        self.one_at_a_time = asyncio.Lock()
        """Held while a settle is under way, whoever sends it."""
        self._is_fetch_waiting = False
        self._calls = calls
        self._name = name
        self._attempts = attempts
        self._keeps_order = keeps_order
        self._ack_within_s = ack_within_s
        self._changed = changed
        self._leases: dict[HeldLease, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def open(self) -> int:
        """Number of deliveries that are not settled."""
        return sum(lease.open for lease in self._leases)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held, or to be told."""
        return not self._leases

    def hold(self, leased: Leased, asked_at: float) -> HeldLease:
        """Hold a lease that was given, until all of it is settled or it is lost."""
        lease = HeldLease(
            leased, keeps_order=self._keeps_order, asked_at=asked_at, changed=self._look
        )
        self._leases[lease] = self._loop.call_at(lease.expires_at, self._expire, lease)
        self._look()
        return lease

    def fullest(self) -> HeldLease | None:
        """Return the lease of which most can be settled now; None: nothing can be.

        What was not answered is asked again ahead of all others: once another lease has ended, the
        aggregator would not know it any more.
        """
        unsent = [lease for lease in self._leases if lease.has_unsent]
        return min(unsent, key=lambda lease: (not lease.is_asked, lease.open), default=None)

    def lose_all(self) -> None:
        """Give all leases up."""
        for lease in list(self._leases):
            lease.lose()

    async def run(self) -> None:
        """Settle and extend, for ever.

        Raises:
            SubscriptionRefused: a settle is refused for good.
            SubscriptionGaveUp: there was no answer for too long.
        """
        while True:
            self._wake.clear()
            lease, due_at = self._next()
            if lease is None or due_at > self._loop.time():
                await self._until(None if lease is None else due_at)
                continue
            await self._settle_in_turn(lease)

    async def flush(self) -> None:
        """Settle all that is to be settled, and extend nothing."""
        while (lease := self.fullest()) is not None:
            await self._settle_in_turn(lease)

    async def _settle_in_turn(self, lease: HeldLease) -> None:
        """Settle a lease, or what was not answered before."""
        async with self.one_at_a_time:
            await self._settle(next((each for each in self._leases if each.is_asked), lease))

    async def _settle(self, lease: HeldLease) -> None:
        """Send what is due of a lease, until it is answered.

        Raises:
            SubscriptionRefused: it is refused for good; the lease is given up.
            SubscriptionGaveUp: there was no answer for too long.
        """
        while not lease.is_over:
            request, is_extended = lease.request(), self._is_extension_due(lease)
            if request is None and not is_extended:
                return
            settle = lease.extension() if request is None else request.settle
            if is_extended:
                settle = settle._replace(extend_ms=lease.extend_ms)
            asked_at = self._loop.time()
            try:
                async with self.attempt(lease):
                    settled = await self._calls.settle(self._name, settle)
            except CallFailed as failure:
                await self._attempts.wait(failure)
            except LeaseLost:
                self._attempts.succeeded()
                lease.lose()
            else:
                self._attempts.succeeded()
                lease.answered(settled, asked_at, request)
                return

    @asynccontextmanager
    async def attempt(self, lease: HeldLease) -> AsyncIterator[None]:
        """Limit the time of an attempt to settle, so that a lease has time for others.

        Raises:
            CallFailed: there was no answer.
        """
        try:
            async with asyncio.timeout(max(_MIN_ATTEMPT_S, lease.lease_s / _ATTEMPTS_OF_A_LEASE)):
                yield
        except TimeoutError as error:
            raise CallFailed("no answer to a settle in time") from error

    @contextmanager
    def fetch_waiting(self) -> Iterator[None]:
        """Note that a request for a lease waits for what is to come."""
        self._is_fetch_waiting = True
        self._wake.set()
        try:
            yield
        finally:
            self._is_fetch_waiting = False

    def _next(self) -> tuple[HeldLease | None, float]:
        due = ((lease, self._due_at(lease)) for lease in self._leases)
        return min(due, key=lambda each: each[1], default=(None, 0.0))

    def _due_at(self, lease: HeldLease) -> float:
        at = self._extend_at(lease) if lease.open else lease.expires_at
        if lease.has_unsent:
            if lease.is_urgent or (self._keeps_order and self._is_fetch_waiting):
                return 0.0
            at = min(at, (lease.unsent_since or 0.0) + self._ack_within_s)
            if self._keeps_order and not lease.open:
                # Others wait for what is behind it in its topics.
                at = min(at, lease.finished_at + _FINISHED_S)
        return at

    def _is_extension_due(self, lease: HeldLease) -> bool:
        return bool(lease.open) and self._extend_at(lease) <= self._loop.time()

    @staticmethod
    def _extend_at(lease: HeldLease) -> float:
        return lease.expires_at - lease.lease_s / 2

    def _expire(self, lease: HeldLease) -> None:
        """Give a lease up that was not extended in time."""
        if lease.expires_at > self._loop.time():
            self._leases[lease] = self._loop.call_at(lease.expires_at, self._expire, lease)
        else:
            lease.lose()

    async def _until(self, due_at: float | None) -> None:
        if due_at is None:
            await self._wake.wait()
            return
        handle = self._loop.call_at(due_at, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            handle.cancel()

    def _look(self) -> None:
        for lease in [lease for lease in self._leases if lease.is_over]:
            # Or it would be kept, with its events, until it would have run out.
            self._leases.pop(lease).cancel()
        self._wake.set()
        self._changed()
