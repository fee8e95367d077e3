"""Commands of subscriptions on Postgres: decided first and written if nothing has changed.

As with appends (`storage.postgres.optimistic_append`), a lock that is held while this process
decides would make everybody wait for it. So leases and settles are decided on one statement's
snapshot; then another statement locks the subscriptions, and writes if each row that was read has
the revision that it had, or changes nothing. What was overtaken is decided anew on what is there
then. After a few times it goes the locked way: the subscriptions are locked first, and nobody can
come between. Commands of other kinds, and leases for which all topics of a subscription had to be
summed up, go that way at once.

Why that is exact, and why it rests on no clock but the order of commits: whatever changes what is
kept of a subscription holds the lock on its row, and leaves another revision in each row of a topic
that it touches. So if all rows that were read are unchanged once the lock is held, the decision is
what it would have been then, but for the time: that is the time of the reading, a little earlier.
Say a lease was taken for open at that time, and ran out since. To give its events to another,
somebody must have written its topic's row; then the revision differs, and nothing is settled. If
nobody has, the events are still its own. Say it was taken for run out, and its holder settles at
the same time by an earlier reading: one of the two writes is second, finds another revision, and is
decided anew. Heads need no look: they only grow, and what is behind one is handed out next time. An
outcome that changes nothing is that of one snapshot.

A row that was not there must not have come; and one that went and came again has a revision of its
own, as has its subscription: see `storage.postgres.subscription_changes`.
"""

from collections.abc import Sequence

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.errors import BatchRefused, StorageUnavailable
from storage.postgres.commit import commit, committing, roll_back
from storage.postgres.errors import SessionShared, terminate
from storage.postgres.session import begin, own
from storage.postgres.subscription_changes import CHANGE, change_arguments
from storage.postgres.subscription_loading import Read, load
from storage.subscriptions.commands import Command, Lease, Settle
from storage.subscriptions.decisions import Decisions
from storage.subscriptions.outcomes import Outcome
from storage.subscriptions.workspace import Changes, Needs, needs

_OPTIMISTIC_ATTEMPTS = 3
_LOCKED_ATTEMPTS = 5

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"

LOCK = "SELECT FROM subscriptions WHERE name = ANY ($1) ORDER BY name FOR UPDATE"


async def apply(connection: PoolConnectionProxy, commands: Sequence[Command]) -> list[Outcome]:
    """Do commands in one transaction; see `SubscriptionStore.apply`.

    Args:
        connection: not in a transaction, neither before nor after, or it is closed.
        commands: leases and settles, any number but none; or one command of another kind.

    Raises:
        BatchRefused, StorageUnavailable: nothing was changed.
        OutcomeUnknown: done as a whole, or not at all; nobody knows.
        SessionShared: the session is not that of the connection alone; nothing was changed.
        asyncpg.PostgresError: nothing was changed.
    """
    wanted = needs(commands)
    if not wanted.others and all(isinstance(each, Lease | Settle) for each in commands):
        for _ in range(_OPTIMISTIC_ATTEMPTS):
            outcomes = await _apply_optimistically(connection, commands, wanted)
            if outcomes is not None:
                return outcomes
    for _ in range(_LOCKED_ATTEMPTS):
        outcomes = await _apply_locked(connection, commands, wanted)
        if outcomes is not None:
            return outcomes
    raise StorageUnavailable(
        f"Postgres: the subscription {wanted.names[0]!r} was made and deleted by others again and "
        "again; nothing was changed"
    )


async def _apply_optimistically(
    connection: PoolConnectionProxy, commands: Sequence[Command], wanted: Needs
) -> list[Outcome] | None:
    """Decide, and write if nothing has changed; None: something has, and nothing was written."""
    read = await load(connection, wanted)
    outcomes, changes = _decide(read, commands)
    if not changes:
        return outcomes
    arguments = change_arguments(wanted, read, changes)
    with committing(connection, "the statement that changes subscriptions and commits"):
        is_written = await connection.fetchval(CHANGE, own(connection).marker, *arguments)
    if is_written is None:
        raise SessionShared
    return outcomes if is_written else None


async def _apply_locked(
    connection: PoolConnectionProxy, commands: Sequence[Command], wanted: Needs
) -> list[Outcome] | None:
    """Lock, decide, write; None: a subscription of the name was made by others at the same time."""
    try:
        await begin(connection, BEGIN)
        # What follows begins after the locks are held, and sees what their last holders committed.
        await connection.execute(LOCK, wanted.names)
        read = await load(connection, wanted)
        outcomes, changes = _decide(read, commands)
        is_written = not changes
        if changes:
            arguments = change_arguments(wanted, read, changes)
            is_written = await connection.fetchval(CHANGE, own(connection).marker, *arguments)
    except (asyncpg.PostgresError, BatchRefused):
        await roll_back(connection)
        raise
    except BaseException:
        # No answer: one to ROLLBACK would have to be waited for as long again.
        terminate(connection)
        raise
    if changes and is_written:
        await commit(connection)
    else:
        await roll_back(connection)
    return outcomes if is_written else None


def _decide(read: Read, commands: Sequence[Command]) -> tuple[list[Outcome], Changes]:
    decisions = Decisions(read.loaded)
    outcomes = [decisions.decide(command) for command in commands]
    return outcomes, decisions.changes
