"""Deliveries, and batches of them, as handlers and loops get them."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Protocol, overload

from subscriber.calls.requests import Delivered
from subscriber.errors import AlreadySettled
from subscriber.events import Event, parse_event

MAX_ERROR_CHARACTERS = 4000
"""What an aggregator keeps of an error's text."""


class Fate(Enum):
    """What has become of a delivery."""

    OPEN = "not settled"
    ACK = "acknowledged"
    RETRY = "retried"
    DEAD = "declared dead"
    RELEASE = "released"
    HANDED_BACK = "handed back with what is ahead of it in its topic"
    LOST = "lost with its lease"


class Holder(Protocol):
    """Holds the lease of deliveries, and settles them."""

    def settle(
        self,
        deliveries: "Sequence[Delivery]",
        fate: Fate,
        *,
        after_ms: int | None = None,
        error: str | None = None,
    ) -> asyncio.Future[None]:
        """Settle deliveries of the lease that are open, at once.

        Returns:
            A future that is done when the aggregator has answered; LeaseLost if the lease is lost.
        """


class Delivery:
    """An event that was handed out, and what becomes of it.

    Its methods return when the aggregator has answered. Each raises AlreadySettled where the
    delivery was settled before, LeaseLost where its lease is lost, and does nothing where the
    delivery was handed back with one that is ahead of it in its topic.

    Args:
        holder: of its lease.
        delivered: the event as it came.
    """

    __slots__ = ("_checks", "_delivered", "_event", "_holder", "fate")

    def __init__(self, holder: Holder, delivered: Delivered) -> None:
        self._holder = holder
        self._delivered = delivered
        self._event: Event | None = None
        self._checks: list[Callable[[], None]] | None = None
        self.fate = Fate.OPEN
        """What has become of it; the library sets it."""

    @property
    def event(self) -> Event:
        """The event."""
        if self._event is None:
            self._event = parse_event(self._delivered.json)
        return self._event

    @property
    def topic(self) -> str:
        """The topic of the event."""
        return self._delivered.topic

    @property
    def offset(self) -> int:
        """The offset of the event."""
        return self._delivered.offset

    @property
    def delivery(self) -> int:
        """How often the event was handed out, this time included, from 1."""
        return self._delivered.delivery

    @property
    def json(self) -> bytes:
        """The event as the JSON object that the aggregator sent, on one line without newline."""
        return self._delivered.json

    @property
    def is_lost(self) -> bool:
        """Whether its lease is lost, so that somebody else may have the event by now."""
        return self.fate is Fate.LOST

    async def ack(self) -> None:
        """Acknowledge the event: it does not come again."""
        await _settle((self,), Fate.ACK)

    async def retry(self, *, after: float | None = None, error: str | None = None) -> None:
        """Hand the event back since it failed; its delivery counts.

        Args:
            after: the wait before it comes again, in seconds up to a day; None: as the subscription
                has it.
            error: why, for the dead letters.
        """
        await _settle((self,), Fate.RETRY, after=after, error=error)

    async def dead(self, reason: str | None = None) -> None:
        """Make the event a dead letter at once.

        Args:
            reason: why, for the dead letters.
        """
        await _settle((self,), Fate.DEAD, error=reason)

    async def release(self) -> None:
        """Hand the event back; its delivery does not count, and it comes again at once."""
        await _settle((self,), Fate.RELEASE)

    def before_ack(self, check: Callable[[], None]) -> None:
        """Have a check called before the event is acknowledged.

        Args:
            check: raises what keeps it from being acknowledged.
        """
        if self._checks is None:
            self._checks = []
        self._checks.append(check)

    def check_ack(self) -> None:
        """Call the checks of `before_ack`."""
        for check in self._checks or ():
            check()

    def __repr__(self) -> str:
        return f"<Delivery {self.delivery} of {self.topic}/{self.offset}, {self.fate.value}>"


class Batch(Sequence[Delivery]):
    """Deliveries of one lease, in the order in which they are to be handled.

    Its methods settle what is not settled yet of it, and return when the aggregator has answered.
    Each raises LeaseLost where the lease is lost.

    Args:
        deliveries: at least one.
    """

    __slots__ = ("_deliveries",)

    def __init__(self, deliveries: Iterable[Delivery]) -> None:
        self._deliveries = tuple(deliveries)

    @overload
    def __getitem__(self, index: int) -> Delivery: ...

    @overload
    def __getitem__(self, index: slice) -> "Batch": ...

    def __getitem__(self, index: int | slice) -> "Delivery | Batch":
        if isinstance(index, slice):
            return Batch(self._deliveries[index])
        return self._deliveries[index]

    def __len__(self) -> int:
        return len(self._deliveries)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._deliveries)

    @property
    def events(self) -> list[Event]:
        """The events of the deliveries."""
        return [delivery.event for delivery in self._deliveries]

    @property
    def open(self) -> "Batch":
        """What is not settled of it."""
        return Batch(each for each in self._deliveries if each.fate is Fate.OPEN)

    @property
    def is_lost(self) -> bool:
        """Whether its lease is lost, so that somebody else may have the events by now."""
        return any(each.is_lost for each in self._deliveries)

    async def ack(self) -> None:
        """Acknowledge the events: they do not come again."""
        await self._settle(Fate.ACK)

    async def retry(self, *, after: float | None = None, error: str | None = None) -> None:
        """Hand the events back since they failed; their delivery counts.

        With `order: "topic"` that is the first of each topic; what is behind it is released.

        Args:
            after: the wait before they come again, in seconds up to a day; None: as the
                subscription has it.
            error: why, for the dead letters.
        """
        await self._settle(Fate.RETRY, after=after, error=error)

    async def dead(self, reason: str | None = None) -> None:
        """Make the events dead letters at once.

        Args:
            reason: why, for the dead letters.
        """
        await self._settle(Fate.DEAD, error=reason)

    async def release(self) -> None:
        """Hand the events back; their delivery does not count, and they come again at once."""
        await self._settle(Fate.RELEASE)

    def before_ack(self, check: Callable[[], None]) -> None:
        """Have a check called before events of it are acknowledged; see `Delivery.before_ack`."""
        for delivery in self._deliveries:
            delivery.before_ack(check)

    async def _settle(
        self, fate: Fate, *, after: float | None = None, error: str | None = None
    ) -> None:
        deliveries = [each for each in self._deliveries if each.fate in {Fate.OPEN, Fate.LOST}]
        if deliveries:
            await _settle(deliveries, fate, after=after, error=error)

    def __repr__(self) -> str:
        return f"<Batch {list(self._deliveries)!r}>"


async def _settle(
    deliveries: Sequence[Delivery],
    fate: Fate,
    *,
    after: float | None = None,
    error: str | None = None,
) -> None:
    first = deliveries[0]
    if first.fate is Fate.HANDED_BACK:
        return
    if first.fate not in {Fate.OPEN, Fate.LOST}:
        raise AlreadySettled(f"{first.topic}/{first.offset} is settled already: {first.fate.value}")
    if fate is Fate.ACK:
        for delivery in deliveries:
            delivery.check_ack()
    await asyncio.shield(
        first._holder.settle(deliveries, fate, after_ms=_milliseconds(after), error=error)  # noqa: SLF001
    )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
