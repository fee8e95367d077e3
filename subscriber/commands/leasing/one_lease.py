"""A lease that a command holds while it prints its events."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Literal

from subscriber.calls.requests import Delivered, Leased
from subscriber.cli import counted
from subscriber.commands.asking import Asking
from subscriber.errors import LeaseLost, SubscriptionError

_ENTRIES = 1000
"""Ranges in one request, whose body has a bound."""

_MIN_EXTEND_MS = 1000


class OneLease:
    """Settles and extends a lease.

    Args:
        asks: sends the requests.
        name: of the subscription.
        leased: the lease, which there is.
    """

    def __init__(self, asks: Asking, name: str, leased: Leased) -> None:
        self._asks = asks
        self._path = f"/{name}/settle"
        self._leased = leased
        self._ranges = ranges(leased.deliveries)

    async def settle(self, fate: Literal["ack", "release"]) -> None:
        """Acknowledge or release all of it.

        Raises:
            LeaseLost: it has run out.
            SubscriptionRefused, SubscriptionGaveUp: see `Asking.send`.
        """
        for begin in range(0, len(self._ranges), _ENTRIES):
            part = self._ranges[begin : begin + _ENTRIES]
            await self._asks.send("POST", self._path, {"lease": self._leased.lease, fate: part})

    @asynccontextmanager
    async def extended(self) -> AsyncIterator[None]:
        """Extend it in the background until the end."""
        extending = asyncio.create_task(self._extend())
        try:
            yield
        finally:
            extending.cancel()
            await asyncio.gather(extending, return_exceptions=True)

    async def _extend(self) -> None:
        extension = {
            "lease": self._leased.lease,
            "extend_ms": max(_MIN_EXTEND_MS, round(self._leased.expires_in_s * 1000)),
        }
        # Whoever settles it is told.
        with suppress(SubscriptionError):
            while True:
                await asyncio.sleep(self._leased.expires_in_s / 2)
                await self._asks.send("POST", self._path, extension)

    @asynccontextmanager
    async def released_on_failure(self) -> AsyncIterator[None]:
        """Release it if anything is raised."""
        try:
            yield
        except BaseException:
            with suppress(LeaseLost):
                await self.settle("release")
                self._asks.say(
                    f"released {counted(len(self._leased.deliveries), 'event')}; they come again"
                )
            raise


def ranges(deliveries: Iterable[Delivered]) -> list[tuple[str, int, int]]:
    """Return topics with their first and last offsets, of events that follow one another."""
    found: list[tuple[str, int, int]] = []
    for each in deliveries:
        if found and found[-1][0] == each.topic and found[-1][2] == each.offset - 1:
            found[-1] = (each.topic, found[-1][1], each.offset)
        else:
            found.append((each.topic, each.offset, each.offset))
    return found
