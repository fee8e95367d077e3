"""Batches that are decided before their topics are locked, while the one before is being stored.

Between the lock and COMMIT the database would wait for this process again and again, and so would
everybody who wants the same topics. So a batch is decided first, on what it takes for granted:
what a look into the database showed, and what the batch before, if it is still under way, will
leave behind. Then a single statement locks the topics, stores and commits if they are as they
were taken to be, and changes nothing if they are not: then the batch goes the way of
`storage.postgres.locked_append`, which locks first. (Optimistic concurrency control: Kung and
Robinson, "On optimistic methods for concurrency control", 1981; what is validated is a topic's
version.)

Why that is exact: the row of a topic names the append that wrote it last. Say the look saw the
topic T as the append L left it. If the row, once locked, still names L, then nothing was stored
since, and what the look showed is so. If it names P, an append of this store that was decided on
T as L left it, then P is committed, nothing was stored behind it, and the topic holds what the
look showed and what P added. Whatever else the row names, the decision does not count.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.deduplication import BatchDeduplicator, Decision, Head, PendingAppend
from storage.errors import OutcomeUnknown
from storage.model import Appended, Event
from storage.postgres import locked_append as postgres_locked_append
from storage.postgres.errors import SessionShared, may_be_committed, words
from storage.postgres.locked_append import PROBE, commits, joined
from storage.postgres.session import MARKER, own

_NOT_OWN_SESSION = -1
"""What is answered in place of the seconds, which are not below 0."""

# One statement, so that the keys and the rows of their topics are of one snapshot.
PEEK = f"""{PROBE}
UNION ALL
SELECT topic, NULL, unique_processed, last_append::text, NULL
FROM topics WHERE topic = ANY (string_to_array($4, chr(31)))"""
_EVENT_ID = 1

# Arrays come as text, because the driver looks long at every element of one; but for times, which
# a text would not give back to the microsecond in every year. Nothing is stored in a session that
# is not the connection's own: what makes a commit durable is set in that one alone.
STORE_IF_AS_KNOWN = f"""
SELECT CASE WHEN current_setting('{MARKER}', true) IS DISTINCT FROM $16 THEN {_NOT_OWN_SESSION}
ELSE append_if_as_known(
    string_to_array($1, chr(31)), string_to_array($2, chr(31))::uuid[], $3::text::bigint[],
    $4::text::uuid, $5::text::bigint[], $6::text::bigint[], $7::text::bigint[], $8::text::bigint[],
    $9, $10::text::integer[], $11::text::bigint[], $12, $13, $14, $15) END"""

PAUSE = 16
"""Batches that are not decided ahead after one was in vain: others write to the same topics, and
it is likely to happen again. Twice as many each time that it does."""

LONGEST_PAUSE = 1024


class _Known(NamedTuple):
    """What a decision takes for granted of a topic: which append wrote its row, and its head."""

    append: str
    head: int


_NOTHING = PendingAppend("", {}, {}, ())


class OptimisticAppender:
    """Appends the batches of a store, each decided ahead of its lock, if it can be."""

    def __init__(self) -> None:
        self._last: PendingAppend | None = None
        self._pause = 0
        self._next_pause = PAUSE

    async def append(
        self,
        connection: PoolConnectionProxy,
        batch: Sequence[Event],
        *,
        on_decided: Callable[[], object],
    ) -> Appended:
        """Store a batch; see `EventStore.append`.

        Args:
            connection: not in a transaction, neither before nor after, or it is closed.
            on_decided: called when the next batch may be given; until then, none may be.
        """
        mine: PendingAppend | None = None

        def decided(pending: PendingAppend) -> None:
            nonlocal mine
            self._last = mine = pending
            on_decided()

        try:
            if self._may_try():
                ahead = _Batch(connection, batch, self._last or _NOTHING)
                appended = await ahead.append(decided)
                if appended is not None:
                    self._next_pause = PAUSE
                    return appended
                if mine is not None:
                    self._pause = self._next_pause
                    self._next_pause = min(2 * self._pause, LONGEST_PAUSE)
            # While none is decided ahead, the next one need not know what this one leaves.
            on_locked = on_decided if self._pause else _ignore
            return await postgres_locked_append.append(
                connection, batch, on_locked=on_locked, on_decided=decided
            )
        finally:
            if self._last is mine:
                self._last = None

    def _may_try(self) -> bool:
        if self._pause:
            self._pause -= 1
            return False
        return True


class _Batch:
    """A batch that is decided while another one, `before`, is under way."""

    def __init__(
        self, connection: PoolConnectionProxy, batch: Sequence[Event], before: PendingAppend
    ) -> None:
        self._connection = connection
        self._ledger = BatchDeduplicator(batch)
        self._before = before

    async def append(
        self,
        on_decided: Callable[[PendingAppend], object],
    ) -> Appended | None:
        """The verdicts, once it is stored; None if it is not, for it was decided on what isn't so.

        Raises what `postgres_locked_append.append` raises.
        """
        known = await self._look()
        if known is None:
            return None
        # The time is given to the rows where they are stored.
        heads = {topic: Head(each.head, 0) for topic, each in known.items()}
        decision = await postgres_locked_append.settle(self._ledger, heads)
        before = {topic: each.append for topic, each in known.items()}
        pending = PendingAppend.of(decision, heads, before)
        arguments = _arguments(decision, known, pending.append)
        on_decided(pending)
        commit_s = await self._store(arguments)
        return None if commit_s is None else Appended(decision.verdicts, commit_s)

    async def _look(self) -> dict[str, _Known] | None:
        """Tell the ledger what is stored, or will be; None if too little is known of a topic."""
        deduplicator, before = self._ledger, self._before
        arguments = postgres_locked_append.probe_arguments(deduplicator)
        seen = await self._connection.fetch(PEEK, *arguments, joined(deduplicator.topics))
        await postgres_locked_append.find(
            self._connection, deduplicator, [row for row in seen if row[_EVENT_ID] is not None]
        )
        rows = {topic: _Known(append, head) for topic, event_id, head, append, _ in seen
                if event_id is None and append is not None}  # fmt: skip
        if len(rows) < len(deduplicator.topics):
            # A topic that is new, or was last written by a version that did not name its appends.
            return None
        known = {topic: rows[topic] for topic in deduplicator.topics}
        awaited = {
            topic for topic, each in known.items() if before.before.get(topic) == each.append
        }
        for topic in awaited:
            known[topic] = _Known(before.append, before.heads[topic])
        added = {(row.topic, row.event_id): row for row in before.rows if row.topic in awaited}
        for key in added.keys() & deduplicator.keys:
            row = added[key]
            await postgres_locked_append.note(
                deduplicator, key, row.offset, row.source, row.payload
            )
        return known

    async def _store(self, arguments: Sequence[object]) -> float | None:
        """Store it; returns the seconds that COMMIT took, None if the topics have changed."""
        started = time.perf_counter()
        with commits(self._connection, "the statement that stores and commits"):
            try:
                inside_s: float | None = await self._connection.fetchval(
                    STORE_IF_AS_KNOWN, *arguments, own(self._connection).marker
                )
            except asyncpg.PostgresError as error:
                if may_be_committed(error):
                    raise OutcomeUnknown(
                        "Postgres: the statement that stores and commits failed, and may be done: "
                        f"{words(error)}"
                    ) from error
                raise
        if inside_s is None:
            return None
        if inside_s == _NOT_OWN_SESSION:
            raise SessionShared
        return max(0.0, time.perf_counter() - started - inside_s)


def _arguments(decision: Decision, known: Mapping[str, _Known], append: str) -> Sequence[object]:
    counts = [decision.counts[topic] for topic in known]
    numbers = {topic: number for number, topic in enumerate(known, 1)}
    rows = decision.rows
    return (
        joined(list(known)),
        joined([each.append for each in known.values()]),
        _integers(each.head for each in known.values()),
        append,
        _integers(each.received for each in counts),
        _integers(each.unique_processed for each in counts),
        _integers(each.duplicate_dropped for each in counts),
        _integers(each.conflicts for each in counts),
        joined([row.topic for row in rows]),
        _integers(numbers[row.topic] for row in rows),
        _integers(row.offset for row in rows),
        joined([row.event_id for row in rows]),
        [row.timestamp_us for row in rows],
        joined([row.source for row in rows]),
        joined([row.payload for row in rows]),
    )


def _integers(numbers: Iterable[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"


def _ignore() -> None:
    return
