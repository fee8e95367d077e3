"""The contract between the aggregator and a storage backend.

`tests/contract` runs one suite against every backend, so what is written here is what is
tested there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from storage.model import (
    LARGEST_PAYLOAD_BYTES,
    TOPICS_PER_PAGE,
    Appended,
    Encoded,
    Event,
    EventColumns,
    Page,
    Query,
    Stats,
    Usage,
)
from storage.subscriptions.commands import Command
from storage.subscriptions.model import FailedEvent, Subscription, SubscriptionView, TopicView
from storage.subscriptions.outcomes import Outcome


class EventAppender(Protocol):
    """The writing side of a log; group commit needs nothing else."""

    async def append(self, batch: Sequence[Event]) -> Appended:
        """Store the new events of a batch and count all of them, in one durable transaction.

        When this returns, the transaction is committed and flushed to disk. New events of a topic
        get the offsets behind its head in the order given, without a gap, and a `ts_ingest` not
        below any earlier one of the topic. An event whose key is stored, or came earlier in the
        batch, is a duplicate, or a conflict if `payload` (as a JSON value) or `source` differ.

        Args:
            batch: at least one event.

        Returns:
            One verdict per event, in the order given, and the seconds that COMMIT took.

        Raises:
            StorageUnavailable, BatchRefused: rolled back; nothing of it is stored or counted.
            OutcomeUnknown: stored and counted as a whole, or not at all; nobody knows.
        """
        ...


class EventReader(Protocol):
    """The reading side of a log. Every method may raise `StorageUnavailable`."""

    async def read(self, query: Query, encode: Callable[[EventColumns], Encoded]) -> Page[Encoded]:
        """Read a page of events; following `Page.next` gives every event that was stored before.

        Args:
            query: which events, and how many.
            encode: called with one or more consecutive events at a time, in order, as soon as they
                are read; what it returns becomes the parts of the page.

        Raises:
            PayloadOverLimit: the first event is larger than the query allows.
        """
        ...

    async def get(
        self, topic: str, event_id: str, *, max_payload_bytes: int = LARGEST_PAYLOAD_BYTES
    ) -> EventColumns | None:
        """Read the event with this dedup key; None if there is none.

        Raises:
            PayloadOverLimit: its payload is larger than `max_payload_bytes`.
        """
        ...

    async def heads(self, topics: Sequence[str]) -> Mapping[str, int]:
        """Read the head offset of each of these topics, from one snapshot; 0 where none is stored.

        Args:
            topics: any number of names, in any order; a repeated one counts once.
        """
        ...

    async def heads_by_prefix(
        self, prefix: str, *, after: str | None = None, limit: int = TOPICS_PER_PAGE
    ) -> Mapping[str, int]:
        """Read the heads of topics whose names begin with a prefix, by name in byte order.

        Args:
            prefix: characters of a topic's name, or none: every topic.
            after: only names behind this one.
            limit: topics at most.

        Returns:
            Head offsets by topic; fewer than `limit` if no more follow.
        """
        ...

    async def first_offset(self, topic: str, time_us: int) -> int:
        """Find the first offset that was stored at a time or later; head + 1 if none was.

        Args:
            topic: its name.
            time_us: microseconds since the epoch.
        """
        ...

    async def offsets_of_source(
        self, topic: str, source: str, first: int, last: int
    ) -> Sequence[tuple[int, int]]:
        """Find the events of a source in a stretch of a topic, of which every row is looked at.

        Args:
            topic: its name.
            source: of the events.
            first: the lowest offset of the stretch.
            last: the highest.

        Returns:
            The first and the last offset of each range of consecutive ones, ascending.
        """
        ...

    async def stats(
        self, *, topic: str | None = None, after: str = "", limit: int = TOPICS_PER_PAGE
    ) -> Stats:
        """Read the counts in all and of some topics, from one snapshot.

        Args:
            topic: only this one is listed, if it has an event.
            after: those behind this name in byte order are listed.
            limit: topics listed at most; 0: none.
        """
        ...


class SubscriptionStore(Protocol):
    """The subscriptions of a log: commands that change them, and looks that change nothing."""

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Do commands in the order given, in one durable transaction.

        When this returns, what they have changed is committed and flushed to disk. A command that
        is refused changes nothing and does not touch the others.

        Args:
            commands: leases and settles, any number but none; or one command of another kind.

        Returns:
            One outcome per command, in the order given.

        Raises:
            StorageUnavailable, BatchRefused: rolled back; nothing of it is done.
            OutcomeUnknown: done as a whole, or not at all; nobody knows.
        """
        ...

    async def subscription(self, name: str) -> Subscription | None:
        """Read a subscription; None if there is none of this name.

        Raises:
            StorageUnavailable: out of reach now.
        """
        ...

    async def subscriptions(self, *, after: str = "", limit: int) -> list[Subscription]:
        """Read subscriptions by name in byte order.

        Args:
            after: only those behind this name.
            limit: how many at most.

        Raises:
            StorageUnavailable: out of reach now.
        """
        ...

    async def view_topics(
        self, name: str, view: Callable[[Sequence[TopicView]], object]
    ) -> SubscriptionView | None:
        """Look at the topics of a subscription, all in one snapshot.

        Those that exist and are selected by its settings, by name in byte order; a topic of which
        nothing is kept yet is as it begins.

        Args:
            name: of the subscription.
            view: called with some of them at a time.

        Returns:
            The subscription and the time, of the same snapshot; None if there is none of this name.

        Raises:
            StorageUnavailable: out of reach now.
        """
        ...

    async def ready_topics(self, ids: Sequence[str], limit: int) -> list[tuple[str, str]]:
        """Find topics that have something to hand out, of subscriptions that are not paused.

        It may name one that has not. It leaves none out that has and of which a state is kept, or
        which the settings name.

        Args:
            ids: of subscriptions.
            limit: topics at most.

        Returns:
            Ids and topics.

        Raises:
            StorageUnavailable: out of reach now.
        """
        ...

    async def dead_letters(
        self, subscription_id: str, *, after: tuple[str, int] = ("", 0), limit: int
    ) -> list[FailedEvent]:
        """Read dead letters by topic and offset.

        Args:
            subscription_id: of the subscription.
            after: only those behind this topic and offset.
            limit: how many at most.

        Raises:
            StorageUnavailable: out of reach now.
        """
        ...

    async def forget_settles(self, limit: int) -> bool:
        """Forget settles that are a day old, and of each label those of all ended leases but one.

        Args:
            limit: how many at most.

        Returns:
            Whether there are more.

        Raises:
            StorageError: the store failed.
        """
        ...


class StoreLifecycle(Protocol):
    """The life of a store: what opens it, watches it and closes it."""

    backend: str
    """The name users know the backend by, as `storage.backends` has it."""

    on_warning: Callable[[str], object]
    """Callback with a sentence for the operator; runs before the `open` it belongs to returns."""

    async def open(self) -> None:
        """Connect and bring the schema up to date; may be called again after a failure.

        Raises:
            StorageUnavailable: out of reach now; try again.
            StorageMisconfigured: waiting will not help.
        """

    async def ping(self) -> None:
        """Return if an append could succeed now: the database is in reach and writable.

        Raises:
            StorageUnavailable: it could not.
        """

    async def usage(self) -> Usage:
        """Read what the database takes up on disk, and which connections are in use.

        Raises:
            StorageUnavailable: out of reach now; try again.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection. Idempotent.

        A call under way is finished first, unless that takes longer than a few seconds.
        """

    def abandon(self) -> None:
        """Kill what runs elsewhere for this store alone, since this process is about to end.

        Called in place of `aclose`, from any thread, and does not wait. What was acknowledged is
        durable all the same.
        """


class EventStore(EventAppender, EventReader, SubscriptionStore, StoreLifecycle, Protocol):
    """A durable log of events, deduplicated by (topic, event_id), and its subscriptions.

    Any number of stores, in any number of processes, may share one database: no state that
    decides a verdict lives in the process.
    """
