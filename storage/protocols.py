"""The contract between the aggregator and a storage backend.

`tests/contract` runs one suite against every backend, so what is written here is what is
tested there.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from storage.model import (
    LARGEST_PAYLOAD_BYTES,
    TOPICS_PER_PAGE,
    Event,
    LogEvent,
    Page,
    Query,
    Stats,
    Usage,
    Verdict,
)


class EventStore(Protocol):
    """A durable log of events, deduplicated by (topic, event_id).

    Every method may raise `StorageUnavailable`. Any number of stores, in any number of
    processes, may share one database: no state that decides a verdict lives in the process.
    """

    backend: str
    """The name users know the backend by: "sqlite" or "postgres"."""

    on_commit: Callable[[float], object]
    """Told how long COMMIT took, in seconds, before the `append` that it belongs to returns."""

    on_warning: Callable[[str], object]
    """Told a sentence for the operator of the database, before the `open` it belongs to returns."""

    async def open(self) -> None:
        """Connect and bring the schema up to date; may be called again after a failure.

        Raises:
            StorageUnavailable: out of reach now; try again.
            StorageMisconfigured: waiting will not help.
        """

    async def append(self, batch: Sequence[Event]) -> list[Verdict]:
        """Store the new events of `batch`, at least one, and count all, in one durable transaction.

        Returns one verdict per event, in the order given. When this returns, the transaction
        is committed and flushed to disk. New events of a topic get the offsets behind its head
        in the order given, without a gap, and a `ts_ingest` not below any earlier one of the
        topic. An event whose key is stored, or came earlier in the batch, is a duplicate, or a
        conflict if `payload` (as a JSON value) or `source` differ.

        Raises:
            StorageUnavailable, BatchRefused: rolled back; nothing of it is stored or counted.
            OutcomeUnknown: stored and counted as a whole, or not at all; nobody knows.
        """
        ...

    async def read(self, query: Query) -> Page:
        """A page of events; following `Page.next` gives every event that was stored before.

        Raises:
            PayloadOverLimit: the first event is larger than the query allows.
        """
        ...

    async def get(
        self, topic: str, event_id: str, *, max_payload_bytes: int = LARGEST_PAYLOAD_BYTES
    ) -> LogEvent | None:
        """The event with this dedup key, or None.

        Raises:
            PayloadOverLimit: its payload is larger than `max_payload_bytes`.
        """
        ...

    async def stats(
        self, *, topic: str | None = None, after: str = "", limit: int = TOPICS_PER_PAGE
    ) -> Stats:
        """The counts in all and of some topics, from one snapshot.

        Args:
            topic: only this one is listed, if it has an event.
            after: those behind this name in byte order are listed.
            limit: topics listed at most; 0: none.
        """
        ...

    async def usage(self) -> Usage:
        """What the database takes up on disk, and which connections are in use."""
        ...

    async def ping(self) -> None:
        """Return if an append could succeed now: the database is in reach and writable."""

    async def aclose(self) -> None:
        """Close every connection. Idempotent.

        A call under way is finished first, unless that takes longer than a few seconds.
        """

    def abandon(self) -> None:
        """Kill what runs elsewhere for this store alone, since this process is about to end.

        Called in place of `aclose`, from any thread, and does not wait. What was acknowledged is
        durable all the same.
        """
