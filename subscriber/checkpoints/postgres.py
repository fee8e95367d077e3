"""What a checkpoint does in Postgres, whatever the driver."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from subscriber.checkpoints.errors import CheckpointDamaged
from subscriber.checkpoints.link import SAVEPOINT_NAME, Link, transaction_ended
from subscriber.checkpoints.segments import NOTHING_DONE, Change, Segment
from subscriber.checkpoints.table import CHECKPOINT_TABLE, table_missing

LOOK = """
SELECT held.done, pg_current_xact_id()::text::bigint
FROM unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS wanted (topic, segment, number)
LEFT JOIN subscriber_checkpoints AS held
ON held.subscription = $1::text AND held.topic = wanted.topic AND held.segment = wanted.segment
ORDER BY wanted.number
"""
LOCK = """
SELECT held.done, pg_current_xact_id()::text::bigint
FROM unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS wanted (topic, segment, number)
JOIN subscriber_checkpoints AS held USING (topic, segment)
WHERE held.subscription = $1::text AND cardinality($2::text[]) = (
    SELECT count(*) FROM unnest($2::text[], $3::bigint[]) AS wanted (topic, segment)
    JOIN subscriber_checkpoints AS held USING (topic, segment)
    WHERE held.subscription = $1::text)
ORDER BY wanted.number
FOR UPDATE OF held
"""
"""Locks all rows, one after the other, or none if there is one missing.

Who inserts a row may have to wait for somebody else who does. Waiting with locks of other rows
held, two could wait for each other.
"""
INSERT = """
INSERT INTO subscriber_checkpoints (subscription, topic, segment, done)
SELECT $1::text, wanted.topic, wanted.segment, $4::bytea
FROM unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS wanted (topic, segment, number)
ORDER BY wanted.number
ON CONFLICT DO NOTHING
"""
WRITE = """
UPDATE subscriber_checkpoints AS held SET done = wanted.done
FROM unnest($2::text[], $3::bigint[], $4::bytea[]) AS wanted (topic, segment, done)
WHERE held.subscription = $1::text
    AND held.topic = wanted.topic AND held.segment = wanted.segment
RETURNING true
"""

SAVEPOINT = f"SAVEPOINT {SAVEPOINT_NAME}"
RELEASE = f"RELEASE SAVEPOINT {SAVEPOINT_NAME}"
ROLLBACK_TO_SAVEPOINT = f"ROLLBACK TO SAVEPOINT {SAVEPOINT_NAME}; {RELEASE}"

_TABLE_IS_THERE = "SELECT true WHERE to_regclass('subscriber_checkpoints') IS NOT NULL"

_UNDEFINED_TABLE = "42P01"
_MADE_BY_ANOTHER = {"23505", "42P07", "42710"}
"""A unique key of Postgres' own catalog, a table or a type that is there."""

_MAX_TRIES = 5
"""A row that was made or seen is missing at the next look only if somebody deletes it."""


class PostgresLink(Link):
    """A connection to Postgres; its driver fetches, and begins and ends transactions."""

    # Consumers of one topic do their work at the same time, and meet when they commit.
    locks_first: ClassVar[bool] = False

    _transaction_id: int | None = None

    @abstractmethod
    async def _fetch(self, statement: str, *arguments: object) -> Sequence[Sequence[Any]]:
        """Run a statement and return its rows."""

    async def look(self, subscription: str, segments: Sequence[Segment]) -> list[bytes]:
        """Look at the rows; see Link."""
        if not segments:
            return []
        try:
            rows = await self._fetch(LOOK, subscription, *_columns(segments))
        except Exception as error:
            if _sqlstate(error) == _UNDEFINED_TABLE:
                raise table_missing() from error
            raise
        self._transaction_id = rows[0][1]
        return [NOTHING_DONE if done is None else done for done, _ in rows]

    async def lock(self, subscription: str, segments: Sequence[Segment]) -> list[bytes]:
        """Lock the rows; see Link."""
        columns = _columns(segments)
        for _ in range(_MAX_TRIES):
            rows = await self._fetch(LOCK, subscription, *columns)
            if len(rows) == len(segments):
                if rows[0][1] != self._transaction_id:
                    raise transaction_ended()
                return [done for done, _ in rows]
            await self._fetch(INSERT, subscription, *columns, NOTHING_DONE)
        raise _hidden("seen after they were inserted")

    async def write(self, subscription: str, changes: Sequence[Change]) -> None:
        """Write bitmaps; see Link."""
        topics = [change.segment.topic for change in changes]
        numbers = [change.segment.number for change in changes]
        bitmaps = [change.done for change in changes]
        written = await self._fetch(WRITE, subscription, topics, numbers, bitmaps)
        if len(written) != len(changes):
            raise _hidden("changed")

    async def create_table(self) -> None:
        """Create the table; see Link."""
        for tries_left in reversed(range(_MAX_TRIES)):
            await self.begin()
            try:
                # Whoever may not create tables may ask whether it is there.
                if not await self._fetch(_TABLE_IS_THERE):
                    await self._fetch(CHECKPOINT_TABLE)
                await self.commit()
            except BaseException as error:
                await self.rollback(error)
                # IF NOT EXISTS does not look at tables that are being made.
                if _sqlstate(error) not in _MADE_BY_ANOTHER or not tries_left:
                    raise
            else:
                return


def _columns(segments: Sequence[Segment]) -> tuple[list[str], list[int]]:
    return [segment.topic for segment in segments], [segment.number for segment in segments]


def _hidden(what: str) -> CheckpointDamaged:
    return CheckpointDamaged(
        f"rows of subscriber_checkpoints can't be {what}:"
        " look for row-level security, for triggers, and for who deletes them"
    )


def _sqlstate(error: BaseException) -> str | None:
    """The code of an error of Postgres, which every driver has under this name."""
    code: str | None = getattr(error, "sqlstate", None)
    return code
