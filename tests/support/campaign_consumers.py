"""The consumers of a crash campaign: what they lease and settle, and what they leave to others."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from zlib import crc32

import aiohttp

from support.campaign_deliveries import Deliveries
from support.campaign_leases import HeldLease, Place, Settle
from support.campaign_publishers import Target
from support.load import CUT_OFF

_SIZES = ((1, 5), (10, 100), (500, 2_000))
_HOW_OFTEN = (2, 5, 2)
_WAITS_MS = (0, 200, 500)
_CUT_SHORT = 0.02
"""The share of the requests whose consumer dies before the answer."""

_POISON = 600
"""One event of so many is never acknowledged, where there is poison."""

_CARRIED = 0.3
"""The share of the settles that go along with the next lease; what they leave runs out."""

_LATE_S = 0.3
"""A lease that is answered so short a time before it may run out is not made use of."""


class _Died(Exception):
    """The consumer has died, and knows nothing any more."""


class Consumer:
    """Leases and settles, and dies and begins anew with another label, until it is told to end.

    Args:
        number: makes its labels its own.
        chance: decides what it does.
        judge: of the subscription it consumes.
        poison: whether some events are never acknowledged.
        find: waits for an aggregator to send to.
        calm: whether it is to take its time now.
    """

    def __init__(
        self,
        number: int,
        chance: random.Random,
        judge: Deliveries,
        find: Callable[[random.Random], Awaitable[Target]],
        calm: Callable[[], bool],
        *,
        poison: bool,
    ) -> None:
        self._number = number
        self._chance = chance
        self._judge = judge
        self._find = find
        self._calm = calm
        self._poison = poison
        self._lives = 0
        self._carried: tuple[HeldLease, Settle] | None = None
        """What is to be settled along with the next lease."""
        self.earnest = False
        """Whether it does all it can to have everything settled."""
        self.ending = False

    async def run(self, client: aiohttp.ClientSession) -> None:
        """Consume until `ending`; whatever gets no answer is sent again until it does."""
        while not self.ending:
            self._lives += 1
            try:
                while not self.ending:
                    await self._consume(client)
            except _Died:
                self._carried = None

    async def _consume(self, client: aiohttp.ClientSession) -> None:
        if self._calm():
            await asyncio.sleep(self._chance.random() / 5)
        lease = await self._lease(client)
        if lease is None:
            await asyncio.sleep(self._chance.random() / 5)
            return
        await self._work(client, lease)

    async def _work(self, client: aiohttp.ClientSession, lease: HeldLease) -> None:
        """Settle what a lease has, or leave it."""
        draw = 1.0 if self.earnest else self._chance.random()
        if draw < 0.05:
            return  # it runs out
        if draw < 0.1:
            raise _Died
        if draw < 0.13:
            # Held for longer than it was given for.
            longer = Settle(extend_ms=self._judge.settings["lease_ms"] + 700)
            if not await self._settle(client, lease, longer):
                return
            await asyncio.sleep(self._judge.settings["lease_ms"] / 1000 + 0.1)
        while lease.held:
            settle = self._next_settle(lease)
            if self._chance.random() < _CARRIED:
                self._carried = lease, settle
                return
            if not await self._settle(client, lease, settle):
                return
            if self._chance.random() < 0.05 and not await self._settle(client, lease, settle):
                return

    async def _lease(self, client: aiohttp.ClientSession) -> HeldLease | None:
        max_events = self._chance.randint(*self._chance.choices(_SIZES, _HOW_OFTEN)[0])
        if self.earnest:
            max_events = max(max_events, 500)
        consumer = f"{self._number}-{self._lives}"
        wanted: dict[str, Any] = {
            "consumer": consumer,
            "max_events": max_events,
            "wait_ms": self._chance.choice(_WAITS_MS),
        }
        if self._carried is None:
            target = await self._find(self._chance)
            asked_s = time.monotonic()
            status, answer = await self._post(client, target, "lease", wanted)
            assert status in {0, 200, 503}, answer
        else:
            (settled, settle), self._carried = self._carried, None
            asked_s, answer = await self._send(client, settled, settle, wanted)
            status = 200 if answer else 409
        given_s = time.monotonic()
        if status != 200 or answer["lease"] is None:
            return None
        expires_ms = answer["expires_in_ms"]
        assert 0 < expires_ms <= self._judge.settings["lease_ms"], answer
        assert 0 < len(answer["deliveries"]) <= max_events, answer
        until_s = asked_s + expires_ms / 1000
        if until_s - given_s < _LATE_S:
            return None
        given = [(each["delivery"], each["event"]) for each in answer["deliveries"]]
        lease = HeldLease(
            token=answer["lease"],
            consumer=consumer,
            asked_s=asked_s,
            given_s=given_s,
            until_s=until_s,
            deliveries={(event["topic"], event["offset"]): number for number, event in given},
            event_ids={(event["topic"], event["offset"]): event["event_id"] for _, event in given},
        )
        self._judge.leased(lease)
        return lease

    def _next_settle(self, lease: HeldLease) -> Settle:
        held = list(lease.held)
        fails = [place for place in held if self._fails(lease, place)]
        draw = 1.0 if self.earnest else self._chance.random()
        if fails or draw < 0.08:
            failing = fails[0] if fails else self._chance.choice(held)
            before = lease.held_before(failing)
            if draw < 0.02:
                return Settle(ack=before, dead=[failing])
            after_ms = None if self.earnest else self._chance.choice((None, 0, 50, 200))
            return Settle(ack=before, retry=[failing], after_ms=after_ms)
        if draw < 0.12:
            return Settle(release=self._some(held))
        settle = Settle(ack=held if self.earnest or draw > 0.5 else self._some(held))
        if draw < 0.2:
            settle.extend_ms = self._judge.settings["lease_ms"]
        return settle

    def _fails(self, lease: HeldLease, place: Place) -> bool:
        return self._poison and crc32(lease.event_ids[place].encode()) % _POISON == 0

    def _some(self, held: Sequence[Place]) -> Sequence[Place]:
        first = self._chance.randrange(len(held))
        return held[first : self._chance.randint(first + 1, len(held))]

    async def _settle(
        self, client: aiohttp.ClientSession, lease: HeldLease, settle: Settle
    ) -> bool:
        """Settle until it is answered; returns whether the lease may have something left."""
        return bool((await self._send(client, lease, settle, None))[1])

    async def _send(
        self,
        client: aiohttp.ClientSession,
        lease: HeldLease,
        settle: Settle,
        wanted: dict[str, Any] | None,
    ) -> tuple[float, dict[str, Any]]:
        """Settle until it is answered.

        Args:
            client: what requests are sent with.
            lease: that is settled.
            settle: may have been sent before.
            wanted: the lease that it goes along with, if there is one.

        Returns:
            When it was sent, and the answer; an empty one if it was refused.
        """
        judge = self._judge
        if settle.answer is None:
            judge.sending(lease, settle)
        body = settle.body(lease, spans=judge.in_order)
        verb = "settle"
        if wanted is not None:
            verb, body = "lease", wanted | {"settle": body}
        while True:
            target = await self._find(self._chance)
            sent_s = time.monotonic()
            status, answer = await self._post(client, target, verb, body)
            if status == 200:
                told = answer if wanted is None else answer["settled"]
                judge.settled(lease, settle, sent_s, told)
                return sent_s, answer
            if status == 409:
                judge.refused(lease, settle, answer)
                return sent_s, {}
            assert status in {0, 503}, answer
            judge.unanswered()
            await asyncio.sleep(self._chance.random() / 50)

    async def _post(
        self, client: aiohttp.ClientSession, target: Target, verb: str, body: dict[str, Any]
    ) -> tuple[int, Any]:
        """Ask once; returns the status and the answer, 0 if the connection ended without one.

        Raises:
            _Died: it has hung up meanwhile.
        """
        url = f"{target.url}/subscriptions/{self._judge.name}/{verb}"
        dies = not self.earnest and self._chance.random() < _CUT_SHORT
        asking = asyncio.timeout(self._chance.random() / 100 if dies else None)
        try:
            async with asking, client.post(url, json=body) as response:
                return response.status, await response.json(content_type=None)
        except CUT_OFF:
            return 0, None
        except TimeoutError:
            if not asking.expired():
                raise
            raise _Died from None
