"""Snapshot of a database, to be read whole: the protocol between an audit and a backend.

A snapshot never writes and never waits for a writer. Its rows come in blocks, so that
memory does not grow with the log, and each of its orders comes from one place alone: from
the table or from one index. What the two say is compared by `storage.audit.recount`.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from storage.errors import StorageError

Row = Sequence[Any]
Blocks = Iterator[Sequence[Row]]
"""Rows, some thousand at a time; texts are `str`, times are microseconds."""

PLACE = ("topic", "offset")
KEY = ("topic", "event_id")
"""The columns of the two indexes of the table of events."""
RANGE = ("ts_ingest", "topic", "first_offset")
"""The columns of the index of the table of appends."""
_TRIGGERS = ("topics_first_append", "topics_append")
"""The triggers that write that table for a writer that does not."""


class LogDamaged(StorageError):
    """The database can't read what it holds; the message has its words."""


class Extent(NamedTuple):
    """The size of a log by its counts, which may be wrong: for progress and the width of columns.

    Args:
        topics: how many topics.
        rows: how many events.
        topic_width: the longest name of a topic, in characters.
        count_width: the largest count, in characters.
    """

    topics: int
    rows: int
    topic_width: int
    count_width: int


class SubscriptionTables(Protocol):
    """The tables of subscriptions, of the same moment as the snapshot that has them.

    Every method may raise what those of `LogSnapshot` may. A yes or no is 1 or 0.
    """

    def subscriptions(self) -> Blocks:
        """Read the subscriptions, by name.

        Returns:
            Name, id, settings.
        """
        ...

    def topics(self) -> Blocks:
        """Read what is kept of topics, by topic and subscription.

        Returns:
            Topic, id of the subscription, start, next_offset, acknowledged, dead, redelivered,
            unsettled, place, ranges, whether there is a due_at, due_at (0 if there is none),
            holds_new.
        """
        ...

    def failures(self) -> Blocks:
        """Read the failures that are kept, by topic, subscription and offset.

        Returns:
            Topic, id of the subscription, offset, whether it is a dead letter.
        """
        ...

    def settles(self) -> Blocks:
        """Count the settles that are kept of each subscription, in no order.

        Returns:
            Id of the subscription, number.
        """
        ...


class LogSnapshot(Protocol):
    """Snapshot of a log: all that it holds at one moment.

    Every method may raise `LogDamaged`, and after that nothing more can be read; or
    `StorageUnavailable`, when the database is lost meanwhile. Every stream of blocks may be
    read beside the others.
    """

    def open(self) -> None:
        """Connect and fix the moment. Creates nothing, not even a missing file.

        Raises:
            StorageUnavailable: out of reach.
            StorageMisconfigured: not a database of this program and of this schema version.
            LogDamaged: not to be read at all.
        """

    def close(self) -> None:
        """Let go of the moment. Idempotent."""

    def extent(self) -> Extent:
        """Estimate how much there is to read."""
        ...

    def faults(self) -> Iterator[str]:
        """Check the structure of the database itself.

        An index that is missing or does not forbid what it must, or a trigger that is missing; and
        what the engine finds in its own pages, if it has a check that is not slower than reading
        everything.

        Yields:
            A sentence for each fault.
        """
        ...

    def rows(self) -> Iterator[Row]:
        """Read every row of the table, in no order.

        Yields:
            Topic, offset, event_id, timestamp, ts_ingest, source, payload.
        """
        ...

    def counts(self) -> Blocks:
        """Read the table of counts, by topic.

        Returns:
            Topic, received, unique_processed, duplicate_dropped, conflicts, last_ts_ingest.
        """
        ...

    def table(self) -> Blocks:
        """Read the table by topic and offset.

        Returns:
            Topic, offset, event_id, ts_ingest.
        """
        ...

    def place_index(self) -> Blocks | None:
        """Read the index PLACE in its order; None if it is the table itself, or missing."""

    def key_index(self) -> Blocks:
        """Read the index KEY in its order; if it is missing, the table in that order."""
        ...

    def ranges(self) -> Blocks:
        """Read the table of appends by topic and first offset.

        It is sorted for that.

        Returns:
            Topic, first_offset, last_offset, ts_ingest.
        """
        ...

    def range_index(self) -> Blocks | None:
        """Read the index RANGE in its order; None if it is the table itself, or missing."""

    @property
    def subscription_tables(self) -> SubscriptionTables:
        """The tables of subscriptions."""
        ...

    def doubled_keys(self, max_keys: int) -> list[Row]:
        """Find keys that the table has more than once, whatever the indexes say.

        The table is sorted, which may take as long as all the rest.

        Args:
            max_keys: maximum number of keys returned.

        Returns:
            Topic, event_id and how often the key is there.
        """
        ...


def index_fault(
    table: str, columns: Sequence[str], *, forbids_doubles: bool | None
) -> Iterator[str]:
    """Check an index that is to be there.

    Args:
        table: its table.
        columns: its columns.
        forbids_doubles: whether it does; None: it is missing.

    Yields:
        A sentence if it is missing, or does not forbid what it must.
    """
    # Of the tables of a log, each column leads to one; those of subscriptions share theirs.
    of = f" of {table}" if table.startswith("subscription") else ""
    if forbids_doubles is None:
        yield f"the index ({', '.join(columns)}){of} is missing"
    elif not forbids_doubles:
        yield f"the index ({', '.join(columns)}){of} does not forbid a double"


def missing_triggers(there: Collection[str]) -> Iterator[str]:
    """Check that the table of counts has its triggers.

    Args:
        there: the names of those that it has.

    Yields:
        A sentence for each that is missing.
    """
    for name in _TRIGGERS:
        if name not in there:
            yield f"the trigger {name} is missing or off: a writer may leave an append out"
