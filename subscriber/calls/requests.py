"""Leases and settles as they are asked for and answered, whatever carries them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

Range: TypeAlias = tuple[str, int, int]
"""A topic, and the first and the last of a range of offsets."""


class Retry(NamedTuple):
    """An event that is handed back since it failed.

    Args:
        topic, offset: the event.
        after_ms: how long to wait, in milliseconds; None: as the subscription has it.
        error: why; None: not told.
    """

    topic: str
    offset: int
    after_ms: int | None
    error: str | None


class Death(NamedTuple):
    """An event that becomes a dead letter.

    Args:
        topic, offset: the event.
        error: why; None: not told.
    """

    topic: str
    offset: int
    error: str | None


class Settle(NamedTuple):
    """What becomes of events of a lease.

    Args:
        lease: its text, as it was given.
        ack, retry, dead, release: what becomes of which events.
        extend_ms: let it run out so long from now, in milliseconds; None: do not.
    """

    lease: str
    ack: Sequence[Range] = ()
    retry: Sequence[Retry] = ()
    dead: Sequence[Death] = ()
    release: Sequence[Range] = ()
    extend_ms: int | None = None


class Settled(NamedTuple):
    """The answer to a settle.

    Args:
        acknowledged, retried, dead, released: numbers of events.
        expires_in_s: when the rest of the lease runs out, in seconds from the answer; None: nothing
            of it is left.
    """

    acknowledged: int
    retried: int
    dead: int
    released: int
    expires_in_s: float | None


class Delivered(NamedTuple):
    """An event of a lease.

    Args:
        topic, offset: the event.
        delivery: how often it was handed out, this time included.
        json: the event as a JSON object on one line, as a page holds it.
    """

    topic: str
    offset: int
    delivery: int
    json: bytes


class Leased(NamedTuple):
    """The answer to a request for a lease.

    Args:
        lease: its text; None: there was nothing.
        expires_in_s: when it runs out, in seconds from the answer.
        deliveries: its events, in the order in which they are to be handled.
        lag_events: events that are leased or waiting in the whole subscription, this lease
            included.
        lag_seconds: since the oldest of these was stored.
        settled: the answer to the settle that went with it; None: none did.
    """

    lease: str | None
    expires_in_s: float
    deliveries: Sequence[Delivered]
    lag_events: int
    lag_seconds: float
    settled: Settled | None = None


class Settings(NamedTuple):
    """The settings of a subscription that a consumer goes by.

    Args:
        keeps_order: whether it has `order: "topic"`.
        lease_ms: how long a lease lasts, in milliseconds.
        paused: why the subscription is paused; None: it is active.
    """

    keeps_order: bool
    lease_ms: int
    paused: str | None = None


class CallFailed(Exception):
    """A request failed for a reason that may pass; one sentence.

    It may have been done all the same.

    Args:
        reason: the sentence.
        wait_s: the least wait that the answer asks for, in seconds.
    """

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Calls(Protocol):
    """Sends the requests of a consumer, each once.

    Every method raises CallFailed where another attempt may succeed, and SubscriptionRefused where
    it would not; `lease` and `settle` also LeaseLost, if the lease of a settle is lost. Then
    nothing was done.
    """

    async def create(self, name: str, settings: Mapping[str, Any]) -> None:
        """Make a subscription, unless it is there with the same settings."""

    async def settings(self, name: str) -> Settings:
        """Return the settings of a subscription."""

    async def lease(
        self, name: str, consumer: str, max_events: int, wait_ms: int, settle: Settle | None
    ) -> Leased:
        """Lease events, behind what is settled in the same request.

        Args:
            name: of the subscription.
            consumer: the label of the consumer.
            max_events: events at most, 1 to 10,000.
            wait_ms: how long to wait for the first, in milliseconds.
            settle: what is settled ahead of it.
        """

    async def settle(self, name: str, settle: Settle) -> Settled:
        """Settle events of a lease."""

    async def aclose(self) -> None:
        """Close what the calls hold."""
