"""A lease that is held: its deliveries, what becomes of them, and when it runs out."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from subscriber.calls.requests import Leased, Retry, Settle, Settled
from subscriber.consuming.unsent import Group, Unsent
from subscriber.delivery import Delivery, Fate
from subscriber.errors import LeaseLost

_MIN_LEASE_MS = 1000
_NAMED = 3
"""Dead letters that a line of the log names."""

_log = logging.getLogger("subscriber")


class Request(NamedTuple):
    """A settle that is sent until it is answered.

    Args:
        settle: the same each time, but for `extend_ms`.
        groups: what it settles.
    """

    settle: Settle
    groups: Sequence[Group]


class Handled(Protocol):
    """The handling of deliveries, which ends when their lease is lost."""

    deliveries: list[Delivery]

    def cancel(self) -> None:
        """End it."""


class HeldLease:
    """Holds a lease.

    Args:
        leased: the answer that gave it.
        keeps_order: whether the subscription does.
        asked_at: when it was asked for, by the clock of the event loop. It runs out no later here
            than at the aggregator; if it was waited for, unless its answer took half of its time.
        changed: called when there is something to be sent.
    """

    def __init__(
        self, leased: Leased, *, keeps_order: bool, asked_at: float, changed: Callable[[], None]
    ) -> None:
        token = leased.lease or ""
        self._loop = asyncio.get_running_loop()
        self.lease_s = leased.expires_in_s
        # It was given while it was waited for, which is not known to the moment: it is extended
        # at once where it would have been if it had been given as it was asked for.
        given_at = max(asked_at, self._loop.time() - leased.expires_in_s / 2)
        self.expires_at = given_at + leased.expires_in_s
        self.deliveries: Sequence[Delivery] = [Delivery(self, each) for each in leased.deliveries]
        self.open = len(self.deliveries)
        """Number of deliveries that are not settled."""
        self.is_lost = False
        self.is_urgent = False
        """Whether somebody waits for what is unsent."""
        self.unsent_since: float | None = None
        """When the first of what is unsent came; None: there is none."""
        self.finished_at = asked_at
        """When the last of its deliveries was settled here."""
        self.handled: set[Handled] = set()
        """What of it is being handled."""
        self._keeps_order = keeps_order
        self._changed = changed
        self._token = token
        self._unsent = Unsent(token, self.deliveries, keeps_order=keeps_order)
        self._request: Request | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left to be settled or told."""
        return self.is_lost or not (self.open or self._unsent or self._request)

    @property
    def is_asked(self) -> bool:
        """Whether a settle of it was sent, and not answered."""
        return self._request is not None

    @property
    def has_unsent(self) -> bool:
        """Whether something is to be told of it."""
        return bool(self._unsent or self._request)

    def settle(
        self,
        deliveries: Sequence[Delivery],
        fate: Fate,
        *,
        after_ms: int | None = None,
        error: str | None = None,
    ) -> asyncio.Future[None]:
        """Settle open deliveries at once; see `subscriber.delivery.Holder`."""
        future: asyncio.Future[None] = self._loop.create_future()
        if self.is_lost:
            future.set_exception(_lost())
            return future
        self.is_urgent = True
        self.note(deliveries, fate, after_ms=after_ms, error=error, future=future)
        return future

    def note(
        self,
        deliveries: Iterable[Delivery],
        fate: Fate,
        *,
        after_ms: int | None = None,
        error: str | None = None,
        future: asyncio.Future[None] | None = None,
    ) -> None:
        """Settle those deliveries that are open, when something is sent the next time.

        Args:
            deliveries: of this lease.
            fate: what becomes of them.
            after_ms: of a retry.
            error: of a retry or a death.
            future: of who waits for the answer.
        """
        if self._keeps_order and fate in {Fate.RETRY, Fate.RELEASE}:
            settled = self._handed_back(deliveries, fate)
        else:
            settled = [each for each in deliveries if each.fate is Fate.OPEN]
            for delivery in settled:
                delivery.fate = fate
        if not settled:
            if future is not None:
                future.set_result(None)
            return
        self.open -= len(settled)
        self._unsent.put(Group(settled, fate, after_ms, error, future))
        is_first = self.unsent_since is None
        if is_first or not self.open:
            now = self._loop.time()
            self.finished_at = now
            if is_first:
                self.unsent_since = now
        if is_first or self.is_urgent or not self.open:
            self._changed()

    def _handed_back(self, deliveries: Iterable[Delivery], fate: Fate) -> list[Delivery]:
        """Hand back the first of each topic, with all that is open behind it."""
        firsts: dict[str, Delivery] = {}
        for delivery in deliveries:
            first = firsts.get(delivery.topic)
            if delivery.fate is Fate.OPEN and (first is None or delivery.offset < first.offset):
                firsts[delivery.topic] = delivery
        settled = list(firsts.values())
        for delivery in self.deliveries:
            named = firsts.get(delivery.topic)
            if named is None or delivery.fate is not Fate.OPEN or delivery.offset <= named.offset:
                continue
            delivery.fate = Fate.HANDED_BACK
            if fate is Fate.RELEASE:
                settled.append(delivery)
            else:
                # The aggregator releases it with the retry.
                self.open -= 1
        for delivery in firsts.values():
            delivery.fate = fate
        return settled

    def request(self) -> Request | None:
        """Return what is to be sent: the same until it is answered; None: nothing."""
        if self._request is None and self._unsent:
            self._request = Request(*self._unsent.take())
        return self._request

    def extension(self) -> Settle:
        """Return a settle that does nothing but extend the lease."""
        return Settle(self._token, extend_ms=self.extend_ms)

    @property
    def extend_ms(self) -> int | None:
        """How long the lease is to be extended; None: nothing of it is left."""
        return max(_MIN_LEASE_MS, round(self.lease_s * 1000)) if self.open else None

    def answered(self, settled: Settled, asked_at: float, request: Request | None) -> None:
        """Take the answer to a settle.

        Args:
            settled: the answer.
            asked_at: when it was asked for, by the clock of the event loop.
            request: what it has settled; None: it was an extension alone.
        """
        if self.is_lost:
            return
        if settled.expires_in_s is not None:
            self.expires_at = max(self.expires_at, asked_at + settled.expires_in_s)
        if request is None:
            return
        self._request = None
        self._tell_dead(settled.dead - len(request.settle.dead), request.settle.retry)
        if not self._unsent:
            self.is_urgent, self.unsent_since = False, None
        for group in request.groups:
            if group.future is not None and not group.future.done():
                group.future.set_result(None)
        self._changed()

    def _tell_dead(self, count: int, retried: Sequence[Retry]) -> None:
        """Log that some of what was retried was delivered for the last time."""
        if count > 0:
            names = ", ".join(f"{each.topic}/{each.offset}" for each in retried[:_NAMED])
            which = names if count == len(retried) <= _NAMED else f"{count} of {names}, …"
            _log.warning("dead letters now, for they failed as often as they may: %s", which)

    def lose(self) -> None:
        """Give the lease up: it is lost, or nobody knows."""
        if self.is_lost:
            return
        self.is_lost = True
        groups = list(self._request.groups) if self._request else []
        while self._unsent:
            groups += self._unsent.take()[1]
        self._request = None
        lost = [
            handled
            for handled in self.handled
            if any(each.fate is Fate.OPEN for each in handled.deliveries)
        ]
        for delivery in self.deliveries:
            if delivery.fate is Fate.OPEN:
                delivery.fate = Fate.LOST
        self.open = 0
        for group in groups:
            for delivery in group.deliveries:
                delivery.fate = Fate.LOST
            if group.future is not None and not group.future.done():
                group.future.set_exception(_lost())
                # Who waited may be gone.
                group.future.exception()
        for handled in lost:
            handled.cancel()
        self._changed()


def _lost() -> LeaseLost:
    return LeaseLost("the lease has run out, or is somebody else's")
