"""Looks at subscriptions on Postgres: each in one snapshot, without a lock or a change."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from operator import itemgetter

import msgspec

from storage.model import TOPICS_PER_PAGE
from storage.postgres.subscription_rows import (
    ALL_NEWEST,
    NEWEST,
    OLDEST,
    STATE,
    SUBSCRIPTION,
    state_of,
    subscription_of,
)
from storage.reading.statements import Row, Rows
from storage.subscriptions.model import (
    FailedEvent,
    Subscription,
    SubscriptionView,
    TopicState,
    TopicView,
)
from storage.topic_patterns import TopicSelection

_ONE = f"""
SELECT {SUBSCRIPTION}, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
FROM subscriptions AS s WHERE s.name = $1"""

_SOME = f"""
SELECT {SUBSCRIPTION} FROM subscriptions AS s WHERE s.name > $1 ORDER BY s.name LIMIT $2"""

_TOPICS = f"""
SELECT p.topic, p.unique_processed, e.ts_ingest, t.subscription IS NOT NULL, {STATE}
FROM (SELECT topic, unique_processed FROM topics WHERE {{which}} AND unique_processed > 0
      ORDER BY topic LIMIT {TOPICS_PER_PAGE}) AS p
LEFT JOIN LATERAL {NEWEST.format(subscription="$1", topic="p.topic")} ON true
LEFT JOIN LATERAL {OLDEST.format(topic="p.topic")} ON true"""
NAMED = _TOPICS.format(which="topic = ANY ($2)")
FROM_ON = _TOPICS.format(which="topic >= $2 AND topic < $3")
BEHIND = _TOPICS.format(which="topic > $2 AND topic < $3")

# Offsets are dense: there is something behind an offset if the next one is there.
_WHEN = "newest.due_at, newest.holds_new, newest.next_offset"
READY = f"""
SELECT s.id, t.topic FROM subscriptions AS s
CROSS JOIN LATERAL {ALL_NEWEST.format(subscription="s.id", columns=_WHEN)}
WHERE s.id = ANY ($1) AND s.reason IS NULL
  AND (t.due_at <= clock_timestamp() OR (NOT t.holds_new AND EXISTS (
      SELECT FROM events AS e WHERE e.topic = t.topic AND e."offset" = t.next_offset + 1)))
UNION ALL
SELECT s.id, named.topic FROM subscriptions AS s
CROSS JOIN LATERAL json_array_elements_text(s.settings -> 'topics') AS named (topic)
WHERE s.id = ANY ($1) AND s.reason IS NULL
  AND EXISTS (SELECT FROM events AS e WHERE e.topic = named.topic AND e."offset" = 1)
  AND NOT EXISTS (SELECT FROM {NEWEST.format(subscription="s.id", topic="named.topic")})
LIMIT $2"""

_DEAD = """
SELECT topic, "offset", deliveries, first_error, last_error, first_failed_at,
       dead_at
FROM subscription_failures
WHERE subscription = $1 AND (topic, "offset") > ($2, $3) AND dead_at IS NOT NULL
ORDER BY topic, "offset" LIMIT $4"""

# Names are ASCII, compared byte for byte: no name of the prefix is as large as what bounds it.
_BOUND = "\x7f"

_topic = itemgetter(0)
_text = msgspec.json.Decoder(str).decode


class SubscriptionViews(ABC):
    """Looks at subscriptions over connections that a store lends."""

    @abstractmethod
    def _reader(self) -> AbstractAsyncContextManager[Rows]:
        """Lend a connection in a transaction of one snapshot, for as long as the context lasts."""

    async def subscription(self, name: str) -> Subscription | None:
        """See `SubscriptionStore.subscription`."""
        async with self._reader() as rows:
            found = await rows(_ONE, (name,))
        return subscription_of(found[0]) if found else None

    async def subscriptions(self, *, after: str = "", limit: int) -> list[Subscription]:
        """See `SubscriptionStore.subscriptions`."""
        async with self._reader() as rows:
            return [subscription_of(row) for row in await rows(_SOME, (after, limit))]

    async def view_topics(
        self, name: str, view: Callable[[Sequence[TopicView]], object]
    ) -> SubscriptionView | None:
        """See `SubscriptionStore.view_topics`."""
        async with self._reader() as rows:
            found = await rows(_ONE, (name,))
            if not found:
                return None
            subscription = subscription_of(found[0])
            async for page in _pages(rows, subscription):
                view(page)
        return SubscriptionView(subscription=subscription, now_us=found[0][-1])

    async def ready_topics(self, ids: Sequence[str], limit: int) -> list[tuple[str, str]]:
        """See `SubscriptionStore.ready_topics`."""
        async with self._reader() as rows:
            return [(id_, topic) for id_, topic in await rows(READY, (list(ids), limit))]

    async def dead_letters(
        self, subscription_id: str, *, after: tuple[str, int] = ("", 0), limit: int
    ) -> list[FailedEvent]:
        """See `SubscriptionStore.dead_letters`."""
        async with self._reader() as rows:
            found = await rows(_DEAD, (subscription_id, *after, limit))
        return [_failed_event(*row) for row in found]


def _failed_event(
    topic: str,
    offset: int,
    deliveries: int,
    first_error: str | None,
    last_error: str | None,
    first_failed_us: int,
    dead_us: int | None,
) -> FailedEvent:
    return FailedEvent(
        topic=topic,
        offset=offset,
        deliveries=deliveries,
        first_error=None if first_error is None else _text(first_error),
        last_error=None if last_error is None else _text(last_error),
        first_failed_us=first_failed_us,
        dead_us=dead_us,
    )


async def _pages(rows: Rows, subscription: Subscription) -> AsyncIterator[list[TopicView]]:
    """Yield the topics of a subscription by name in byte order, some at a time and never none."""
    selection = TopicSelection(subscription.settings.topics)
    for stretch in _stretches(selection):
        if not isinstance(stretch, str):
            if views := _views(await rows(NAMED, (subscription.id, stretch)), selection):
                yield views
            continue
        sql, bound = FROM_ON, stretch
        while found := await rows(sql, (subscription.id, bound, stretch + _BOUND)):
            if views := _views(found, selection):
                yield views
            if len(found) < TOPICS_PER_PAGE:
                break
            sql, bound = BEHIND, max(row[0] for row in found)


def _stretches(selection: TopicSelection) -> Iterator[list[str] | str]:
    """Yield neighbouring names, and prefixes, in byte order; no topic is in two of them."""
    prefixes = set(selection.prefixes)
    alone = [name for name in selection.names if not name.startswith(selection.prefixes)]
    names: list[str] = []
    # A name that does not begin with a prefix is before it, or behind all that do.
    for each in sorted([*prefixes, *alone]):
        if each not in prefixes:
            names.append(each)
            continue
        if names:
            yield names
            names = []
        yield each
    if names:
        yield names


def _views(found: Sequence[Row], selection: TopicSelection) -> list[TopicView]:
    # Asked to order them, the database may sort.
    return [
        TopicView(topic, head, state_of(state) if is_kept else TopicState(), oldest_us)
        for topic, head, oldest_us, is_kept, *state in sorted(found, key=_topic)
        if selection.matches(topic)
    ]
