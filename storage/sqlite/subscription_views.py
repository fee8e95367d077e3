"""Looks at subscriptions in SQLite, which change nothing."""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import msgspec

from storage.reading.statements import Rows
from storage.sqlite.subscription_rows import (
    SUBSCRIPTION_ROW,
    TOPIC_ROW,
    SubscriptionRow,
    TopicRow,
    subscription_of,
)
from storage.subscriptions.model import (
    FailedEvent,
    Subscription,
    SubscriptionView,
    TopicView,
)
from storage.topic_patterns import TopicSelection

SUBSCRIPTIONS = f"""
SELECT json_group_array({SUBSCRIPTION_ROW})
FROM (SELECT * FROM subscriptions WHERE name {{which}} $1 ORDER BY name LIMIT $2) AS s"""

_TOPICS_AT_ONCE = 1000

# The inner select finds which topics, in order; what is kept of each is found by its key.
TOPICS = f"""
SELECT json_group_array({TOPIC_ROW.format(topic="t.topic")})
FROM (SELECT topic, unique_processed FROM topics
      WHERE topic {{behind}} $2 AND topic < $3 AND unique_processed > 0
      ORDER BY topic LIMIT $4) AS t
LEFT JOIN subscription_topics AS k ON k.subscription = $1 AND k.topic = t.topic"""

READY = """
SELECT k.subscription, k.topic
FROM json_each($1) AS wanted CROSS JOIN subscriptions AS s ON s.id = wanted.value
CROSS JOIN subscription_topics AS k ON k.subscription = s.id
LEFT JOIN topics AS t ON NOT k.holds_new AND t.topic = k.topic
WHERE s.reason IS NULL AND (k.due_at <= $2 OR t.unique_processed > k.next_offset)
UNION ALL
SELECT s.id, t.topic
FROM json_each($1) AS wanted CROSS JOIN subscriptions AS s ON s.id = wanted.value
CROSS JOIN json_each(s.settings, '$.topics') AS named
CROSS JOIN topics AS t ON t.topic = named.value
WHERE s.reason IS NULL AND t.unique_processed > 0 AND NOT EXISTS (
    SELECT 1 FROM subscription_topics AS k WHERE k.subscription = s.id AND k.topic = t.topic)
LIMIT $3"""

DEAD_LETTERS = """
SELECT topic, "offset", deliveries, first_error, last_error, first_failed_at, dead_at
FROM subscription_failures
WHERE subscription = $1 AND dead_at IS NOT NULL AND (topic, "offset") > ($2, $3)
ORDER BY topic, "offset" LIMIT $4"""

_FAILED_EVENT = FailedEvent.__struct_fields__

_decode_subscriptions = msgspec.json.Decoder(list[SubscriptionRow]).decode
_decode_topics = msgspec.json.Decoder(list[TopicRow]).decode


class SubscriptionViews(ABC):
    """Looks over connections that a reader provides; see `SubscriptionStore`."""

    @abstractmethod
    def _reader(self) -> AbstractAsyncContextManager[Rows]:
        """Lend a connection to read through, for as long as the context lasts."""

    @abstractmethod
    def _snapshot(self) -> AbstractAsyncContextManager[Rows]:
        """Lend a connection to read through, all of it in one snapshot."""

    async def subscription(self, name: str) -> Subscription | None:
        """See `SubscriptionStore.subscription`."""
        async with self._reader() as rows:
            return await _subscription(rows, name)

    async def subscriptions(self, *, after: str = "", limit: int) -> list[Subscription]:
        """See `SubscriptionStore.subscriptions`."""
        async with self._reader() as rows:
            ((found,),) = await rows(SUBSCRIPTIONS.format(which=">"), (after, limit))
        return list(map(subscription_of, _decode_subscriptions(found)))

    async def view_topics(
        self, name: str, view: Callable[[Sequence[TopicView]], object]
    ) -> SubscriptionView | None:
        """See `SubscriptionStore.view_topics`."""
        async with self._snapshot() as rows:
            subscription = await _subscription(rows, name)
            if subscription is None:
                return None
            now_us = time.time_ns() // 1000
            selection = TopicSelection(subscription.settings.topics)
            async for page in _pages(rows, subscription.id, selection):
                if seen := [row.view() for row in page if selection.matches(row.topic)]:
                    view(seen)
        return SubscriptionView(subscription, now_us)

    async def ready_topics(self, ids: Sequence[str], limit: int) -> list[tuple[str, str]]:
        """See `SubscriptionStore.ready_topics`."""
        arguments = (msgspec.json.encode(ids).decode(), time.time_ns() // 1000, limit)
        async with self._reader() as rows:
            return [(id_, topic) for id_, topic in await rows(READY, arguments)]

    async def dead_letters(
        self, subscription_id: str, *, after: tuple[str, int] = ("", 0), limit: int
    ) -> list[FailedEvent]:
        """See `SubscriptionStore.dead_letters`."""
        async with self._reader() as rows:
            found = await rows(DEAD_LETTERS, (subscription_id, *after, limit))
        return [FailedEvent(**dict(zip(_FAILED_EVENT, row, strict=True))) for row in found]


class _Stretch(NamedTuple):
    """Neighbouring names, in byte order: from one up to another, which is not one of them."""

    start: str
    end: str


async def _subscription(rows: Rows, name: str) -> Subscription | None:
    ((found,),) = await rows(SUBSCRIPTIONS.format(which="="), (name, 1))
    return next(map(subscription_of, _decode_subscriptions(found)), None)


async def _pages(
    rows: Rows, subscription_id: str, selection: TopicSelection
) -> AsyncIterator[list[TopicRow]]:
    """Read the topics of every stretch that selected ones are in, by name in byte order."""
    for stretch in _stretches(selection):
        behind, start = ">=", stretch.start
        while True:
            arguments = (subscription_id, start, stretch.end, _TOPICS_AT_ONCE)
            ((found,),) = await rows(TOPICS.format(behind=behind), arguments)
            page = _decode_topics(found)
            yield page
            if len(page) < _TOPICS_AT_ONCE:
                break
            behind, start = ">", page[-1].topic


def _stretches(selection: TopicSelection) -> Iterator[_Stretch]:
    """Return where the selected names are, in byte order, none in two of them."""
    # Names are ASCII: none that begins so is as large as what bounds it, and none is between a
    # name and the same with the smallest of characters behind it.
    yield from sorted(
        [_Stretch(prefix, f"{prefix}\x7f") for prefix in selection.prefixes]
        + [
            _Stretch(name, f"{name}\x00")
            for name in selection.names
            if not name.startswith(selection.prefixes)
        ]
    )
