"""Settles that were done: which of them need not be remembered any more."""

from asyncpg.pool import PoolConnectionProxy

# Rows that another aggregator is just about to delete are left to it.
_OLD = """
DELETE FROM subscription_settles WHERE (subscription, lease, digest) IN (
    SELECT subscription, lease, digest FROM subscription_settles
    WHERE at < clock_timestamp() - interval '1 day' ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED)"""

# Those of ended leases whose consumer has ended another one since. The settle that ended a lease
# goes when it is the last of the lease: without it, nobody would know of the others.
_SUPERSEDED = """
DELETE FROM subscription_settles WHERE (subscription, lease, digest) IN (
    SELECT d.subscription, d.lease, d.digest
    FROM subscription_settles AS e
    JOIN subscription_settles AS d ON d.subscription = e.subscription AND d.lease = e.lease
    WHERE e.ended AND EXISTS (
        SELECT FROM subscription_settles AS later
        WHERE later.subscription = e.subscription AND later.consumer = e.consumer AND later.ended
          AND (later.at, later.lease) > (e.at, e.lease))
      AND (NOT d.ended OR NOT EXISTS (
        SELECT FROM subscription_settles AS other
        WHERE other.subscription = e.subscription AND other.lease = e.lease AND NOT other.ended))
    LIMIT $1 FOR UPDATE OF d SKIP LOCKED)"""


async def forget_settles(connection: PoolConnectionProxy, limit: int) -> bool:
    """Forget settles; see `SubscriptionStore.forget_settles`.

    Each statement commits for itself: what was not done is done by the next call.

    Args:
        connection: not in a transaction.
        limit: how many at most.
    """
    left = limit
    for sql in (_OLD, _SUPERSEDED, _SUPERSEDED):
        # Once more, for the settles that ended those leases.
        if left:
            left -= _deleted(await connection.execute(sql, left))
    return left == 0


def _deleted(status: str) -> int:
    return int(status.rpartition(" ")[2])
