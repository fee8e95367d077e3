"""One moment of a database, to be read whole: what an audit asks of a backend.

A snapshot never writes and never waits for a writer. Its rows come in blocks, so that
memory does not grow with the log, and each of its orders comes from one place alone: from
the table or from one index. What the two say is compared by `storage.audit.recount`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from storage.errors import StorageError

Row = Sequence[Any]
Blocks = Iterator[Sequence[Row]]
"""Rows, some thousand at a time; texts are `str`, times are microseconds."""

PLACE = ("topic", "offset")
KEY = ("topic", "event_id")
TIME = ("ts_ingest", "topic", "offset")
"""The columns of the three indexes, the last one not unique."""


class LogDamaged(StorageError):
    """The database holds what it can't read; the message says what it said of it."""


class Extent(NamedTuple):
    """How much there is, by the counts: topics, rows, and the longest topic and the largest count
    in characters. A guess for progress and for the width of columns, for counts may be wrong."""

    topics: int
    rows: int
    topic_width: int
    count_width: int


class LogSnapshot(Protocol):
    """The log at one moment.

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
        """How much there is to read."""
        ...

    def faults(self) -> Iterator[str]:
        """What is wrong with the structure of the database itself, a sentence each.

        An index that is missing or does not forbid what it must; and what the engine finds in
        its own pages, if it has a check that is not slower than reading everything.
        """
        ...

    def rows(self) -> Iterator[Row]:
        """Every row of the table, in no order: topic, offset, event_id, timestamp, ts_ingest,
        source, payload."""
        ...

    def counts(self) -> Blocks:
        """The table of counts by topic: topic, received, unique_processed, duplicate_dropped,
        conflicts, last_ts_ingest."""
        ...

    def table(self) -> Blocks:
        """From the table by topic and offset: topic, offset, event_id, ts_ingest."""
        ...

    def place_index(self) -> Blocks | None:
        """What the index PLACE holds, in its order; None if it is the table itself, or missing."""

    def key_index(self) -> Blocks:
        """What the index KEY holds, in its order; if it is missing, the table in that order."""
        ...

    def time_index(self) -> Blocks | None:
        """What the index TIME holds, in its order; None if it is missing."""

    def doubled_keys(self, most: int) -> list[Row]:
        """Keys that the table has more than once: topic, event_id and how often; up to `most`.

        Whatever the indexes say, by sorting the table. May take as long as all the rest.
        """
        ...
