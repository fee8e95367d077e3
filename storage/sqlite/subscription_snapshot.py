"""The tables of subscriptions in a snapshot of a SQLite log; each is read as the table lies."""

from typing import Protocol

from storage.audit.snapshot import Blocks

KEYS = (
    ("subscriptions", ("name",)),
    ("subscriptions", ("id",)),
    ("subscription_topics", ("subscription", "topic")),
    ("subscription_failures", ("subscription", "topic", "offset")),
    ("subscription_settles", ("subscription", "lease", "ended", "digest")),
)
"""Tables, and columns of which no two rows may have the same."""

_BLOCK_LARGE_ROWS = 100
"""Settings and ranges may be long."""

_SUBSCRIPTIONS = "SELECT name, id, settings FROM subscriptions NOT INDEXED ORDER BY name"

_TOPICS = """
SELECT topic, subscription, start_offset, next_offset, acknowledged, dead, redelivered, unsettled,
       place, ranges, due_at IS NOT NULL, coalesce(due_at, 0), holds_new
FROM subscription_topics NOT INDEXED ORDER BY topic, subscription"""

_FAILURES = """
SELECT topic, subscription, "offset", dead_at IS NOT NULL
FROM subscription_failures NOT INDEXED ORDER BY topic, subscription, "offset" """

_SETTLES = """
SELECT subscription, count(*) FROM subscription_settles NOT INDEXED GROUP BY subscription"""


class ReadBlocks(Protocol):
    """The reading of rows in a snapshot."""

    def __call__(self, sql: str, types: str, size: int | None = None) -> Blocks:
        """Read the rows of a statement in blocks.

        Args:
            sql: the statement.
            types: of its columns, a letter each: `t` text, `i` integer.
            size: rows in a block, at most; None: as many as usual.
        """
        ...


class SqliteSubscriptionTables:
    """A `SubscriptionTables` of a SQLite file.

    Args:
        blocks: reads in the snapshot.
    """

    def __init__(self, blocks: ReadBlocks) -> None:
        self._blocks = blocks

    def subscriptions(self) -> Blocks:
        """See `SubscriptionTables.subscriptions`."""
        return self._blocks(_SUBSCRIPTIONS, "ttt", _BLOCK_LARGE_ROWS)

    def topics(self) -> Blocks:
        """See `SubscriptionTables.topics`."""
        return self._blocks(_TOPICS, "tt" + "i" * 7 + "tiii", _BLOCK_LARGE_ROWS)

    def failures(self) -> Blocks:
        """See `SubscriptionTables.failures`."""
        return self._blocks(_FAILURES, "ttii")

    def settles(self) -> Blocks:
        """See `SubscriptionTables.settles`."""
        return self._blocks(_SETTLES, "ti")
