"""The tables of subscriptions in a snapshot of a Postgres log; each is read as the table lies."""

from typing import Protocol

from storage.audit.snapshot import Blocks

KEYS = (
    ("subscriptions", ("name",)),
    ("subscriptions", ("id",)),
    ("subscription_topics", ("subscription", "topic", "row_version")),
    ("subscription_failures", ("subscription", "topic", "offset")),
    ("subscription_settles", ("subscription", "lease", "digest")),
)
"""Tables, and columns of which no two rows may have the same."""

_BLOCK_LARGE_ROWS = 100
"""Settings and ranges may be long."""

_SUBSCRIPTIONS = "SELECT name, id, settings::text FROM subscriptions ORDER BY name"

_TOPICS = """
SELECT topic, subscription, start_offset, next_offset, acknowledged, dead, redelivered, unsettled,
       place, ranges::text, (due_at IS NOT NULL)::int, coalesce(due_at, 'epoch'), holds_new::int
FROM subscription_topics ORDER BY topic, subscription"""

_FAILURES = """
SELECT topic, subscription, "offset", (dead_at IS NOT NULL)::int
FROM subscription_failures ORDER BY topic, subscription, "offset" """

_SETTLES = "SELECT subscription, count(*) FROM subscription_settles GROUP BY subscription"


class ReadBlocks(Protocol):
    """The reading of rows in a snapshot."""

    def __call__(self, sql: str, size: int | None = None) -> Blocks:
        """Read the rows of a statement in blocks.

        Args:
            sql: the statement.
            size: rows in a block, at most; None: as many as usual.
        """
        ...


class PostgresSubscriptionTables:
    """A `SubscriptionTables` of a Postgres database.

    Args:
        blocks: reads in the snapshot, and no index.
    """

    def __init__(self, blocks: ReadBlocks) -> None:
        self._blocks = blocks

    def subscriptions(self) -> Blocks:
        """See `SubscriptionTables.subscriptions`."""
        return self._blocks(_SUBSCRIPTIONS, _BLOCK_LARGE_ROWS)

    def topics(self) -> Blocks:
        """See `SubscriptionTables.topics`."""
        return self._blocks(_TOPICS, _BLOCK_LARGE_ROWS)

    def failures(self) -> Blocks:
        """See `SubscriptionTables.failures`."""
        return self._blocks(_FAILURES)

    def settles(self) -> Blocks:
        """See `SubscriptionTables.settles`."""
        return self._blocks(_SETTLES)
