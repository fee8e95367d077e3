"""Settles that were done: which of them need not be remembered any more."""

from asyncpg.pool import PoolConnectionProxy

# Rows are never changed, so where one lies says which it is.
_OLD = """
DELETE FROM subscription_settles WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM subscription_settles
    WHERE at < clock_timestamp() - interval '1 day' ORDER BY at LIMIT $1))"""

# Those of ended leases whose consumer has ended another one since. The settle that ended a lease
# goes when it is the last of the lease: without it, nobody would know of the others. An index is
# chosen by the order that is asked for.
_SUPERSEDED = """
DELETE FROM subscription_settles WHERE ctid = ANY (ARRAY(
    SELECT d.place
    FROM (SELECT * FROM subscription_settles AS over WHERE over.ended
          ORDER BY over.subscription, over.consumer, over.at, over.lease) AS e
    CROSS JOIN LATERAL (
        SELECT FROM subscription_settles AS later
        WHERE later.subscription = e.subscription AND later.consumer = e.consumer AND later.ended
          AND (later.at, later.lease) > (e.at, e.lease)
        ORDER BY later.at, later.lease LIMIT 1) AS l
    CROSS JOIN LATERAL (
        SELECT done.ctid AS place, done.ended FROM subscription_settles AS done
        WHERE done.subscription = e.subscription AND done.lease = e.lease
        ORDER BY done.digest OFFSET 0) AS d
    WHERE NOT d.ended OR 1 = (
        SELECT count(*) FROM subscription_settles AS left_over
        WHERE left_over.subscription = e.subscription AND left_over.lease = e.lease)
    LIMIT $1))"""


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
