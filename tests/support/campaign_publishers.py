"""The publishers of a crash campaign: what they send, and what they do without an answer."""

import itertools
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import aiohttp

from support.campaign_record import PAYLOAD, Attempt, Record, key_of, source_of
from support.events import published
from support.load import Batch, Key, post

TOPICS = ("audit", "billing", "orders", "visits")

_SIZES = ((1, 4), (5, 30), (100, 300))
_HOW_OFTEN = (40, 57, 3)
_CONTESTED = 40
"""Ids that all publishers send at about the same time: this many at once."""

_LATER = 0.15
"""The share of the new events in topics that were not there in the beginning."""

_KEYS_PER_TOPIC = 60


class Contested:
    """Ids that everybody sends; a window of them moves on as they are taken."""

    def __init__(self) -> None:
        self._taken = itertools.count()
        self._last = 0

    def key(self, chance: random.Random) -> Key:
        """One of those in the window; each is taken three times on average."""
        self._last = next(self._taken)
        number = self._last // 3 + chance.randrange(_CONTESTED)
        return TOPICS[number % len(TOPICS)], f"contested-{number}{'w' if number % 3 == 0 else ''}"

    def topic(self, chance: random.Random) -> str:
        """One of `TOPICS`, or one of those that come up one after the other, ever more rarely."""
        later = math.isqrt(self._last // _KEYS_PER_TOPIC)
        if later and chance.random() < _LATER:
            return f"visits.{chance.randrange(later)}"
        return chance.choice(TOPICS)


class Target(Protocol):
    """An aggregator to send to."""

    number: int

    @property
    def url(self) -> str: ...


class Publisher:
    """Publishes batch after batch; whatever gets no answer it sends again until it does.

    Args:
        number: makes its ids its own.
        chance: decides what it sends.
        find: waits for an aggregator to send to.
        heard: told whose answer it got, and when none will come.
    """

    def __init__(
        self,
        number: int,
        chance: random.Random,
        contested: Contested,
        record: Record,
        find: Callable[[random.Random], Awaitable[Target]],
        heard: Callable[[int], None],
    ) -> None:
        self._number = number
        self._chance = chance
        self._contested = contested
        self._record = record
        self._find = find
        self._heard = heard
        self._ids = itertools.count()
        self._acknowledged: list[Key] = [self._new_key()]

    async def publish_one(self, client: aiohttp.ClientSession) -> None:
        """Publish a batch until it is acknowledged."""
        batch, fresh = self._batch()
        while True:
            target = await self._find(self._chance)
            attempt = Attempt(batch, fresh, target.number)
            self._record.sent(attempt)
            status, answer = await post(client, target.url, batch)
            if status == 200:
                self._record.acknowledged(attempt, answer)
                self._heard(target.number)
                self._acknowledged += self._chance.sample([*map(key_of, batch)], min(5, len(batch)))
                return
            attempt.over = True
            self._heard(target.number)
            whole = await attempt.whole
            self._record.tally.retried += 1
            own = self._event(self._new_key())
            batch = [*batch, own]
            fresh = (frozenset() if whole else fresh) | {key_of(own)}

    def _batch(self) -> tuple[Batch, frozenset[Key]]:
        low, high = self._chance.choices(_SIZES, _HOW_OFTEN)[0]
        batch: Batch = []
        fresh: set[Key] = set()
        for _ in range(self._chance.randint(low, high) - 1):
            draw = self._chance.random()
            if draw < 0.45:
                batch.append(self._event(self._new_key()))
                fresh.add(key_of(batch[-1]))
            elif draw < 0.65:
                batch.append(self._event(self._contested.key(self._chance)))
            elif draw < 0.85:
                batch.append(self._event(self._chance.choice(self._acknowledged)))
            elif draw < 0.95 and batch:
                batch.append(self._chance.choice(batch))
            else:
                again = self._chance.choice(self._acknowledged)
                batch.append(self._event(again, {"total": self._number}))
        batch.append(self._event(self._new_key()))
        fresh.add(key_of(batch[-1]))
        return batch, frozenset(fresh)

    def _new_key(self) -> Key:
        of_web = "w" if self._chance.random() < 0.5 else ""
        return self._contested.topic(self._chance), f"{self._number}-{next(self._ids)}{of_web}"

    def _event(self, key: Key, payload: dict[str, Any] | None = None) -> dict[str, Any]:
        topic, event_id = key
        return published(
            topic=topic, event_id=event_id, source=source_of(event_id), payload=payload or PAYLOAD
        )
