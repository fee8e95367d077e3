"""The contract between the routes of subscriptions and the service behind them."""

from collections.abc import Sequence
from typing import Protocol

from aggregator.access.entries import Entry
from aggregator.wire.lease_request import LeaseRequest
from aggregator.wire.settle_request import SettleRequest
from aggregator.wire.subscription_answers import LeaseAnswer, SubscriptionStatus
from storage.subscriptions.commands import Change, Range, Token
from storage.subscriptions.model import (
    Beginning,
    FailedEvent,
    Subscription,
    SubscriptionSettings,
)
from storage.subscriptions.outcomes import Retried, Settled, Sought


class SubscriptionService(Protocol):
    """The subscriptions of a log, as requests have them.

    Every method may raise `SubscriptionRefused`, `StorageError`, `QueueFull` and `ShuttingDown`.
    """

    async def put(self, name: str, settings: SubscriptionSettings, entry: Entry) -> bool:
        """Make a subscription, unless one with equal settings is there.

        Args:
            name: of the subscription.
            settings: that it is to have.
            entry: may use it; its limit of subscriptions counts.

        Returns:
            Whether it was made.
        """
        ...

    async def change(self, change: Change) -> None:
        """Change settings.

        Args:
            change: its heads are filled in here.
        """

    async def delete(self, name: str) -> None:
        """Delete a subscription."""

    async def pause(self, name: str) -> None:
        """Stop leases."""

    async def resume(self, name: str) -> None:
        """Let leases go on."""

    async def listed(self, after: str, limit: int) -> list[Subscription]:
        """Read subscriptions by name in byte order.

        Args:
            after: only those behind this name.
            limit: how many at most.
        """
        ...

    async def status(self, name: str, topics_after: str) -> SubscriptionStatus:
        """Read a subscription with its counts.

        Args:
            name: of the subscription.
            topics_after: the name behind which the page of its topics begins; "": the first page.
        """
        ...

    async def check_topics(self, name: str, entry: Entry) -> None:
        """Return if all topics of a subscription may be read.

        Raises:
            Forbidden: some may not.
            NoSuchSubscription: there is none of this name.
        """

    async def lease(self, name: str, request: LeaseRequest) -> LeaseAnswer:
        """Hand out events, as soon as there are any.

        It may be cancelled: then it gives up waiting, and what was leased already is released; what
        was settled ahead of it stays so.

        Args:
            name: of the subscription.
            request: the lease that is asked for.
        """
        ...

    async def settle(self, name: str, request: SettleRequest) -> Settled:
        """Settle events of a lease, hand them back, let it last longer."""
        ...

    async def released(self, name: str, token: Token) -> None:
        """Release at once a lease whose answer has not reached its client."""

    async def seek(self, name: str, begins: Beginning, dry_run: bool) -> Sought:  # noqa: FBT001
        """Move a subscription, or only say what that would do."""
        ...

    async def dead_letters(
        self, name: str, after: tuple[str, int], limit: int
    ) -> list[tuple[FailedEvent, bytes]]:
        """Read dead letters by topic and offset, each with its event as a JSON object.

        Args:
            name: of the subscription.
            after: only those behind this topic and offset.
            limit: how many at most; fewer come once their events take 8 MiB.
        """
        ...

    async def retry_dead(self, name: str, offsets: Sequence[Range] | None) -> Retried:
        """Make dead letters waiting again; None: all."""
        ...

    async def drop_dead(self, name: str, topic: str, offset: int) -> None:
        """Make a dead letter acknowledged."""
