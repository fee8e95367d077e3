"""What a Postgres session is told at its start, so that it depends on no default of its server.

And so that a session whose client is gone without a word does not keep what it holds: the lock
on a topic stops everybody who publishes to it.
"""

import asyncpg

# Everything here is found by an index and read in its order. A planner whose statistics are
# those of an empty table must not scan, sort or hash what has grown to millions of rows since.
# synchronous_commit is set because a server's default may be weaker, the isolation because it may
# be stronger: a statement that waited for a lock has to see what the last holder committed.
_FIXED = {
    "application_name": "pubsub-log-aggregator",
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "timezone": "UTC",
}

_SHORTEST_ABSENCE_S = 1.0
_LAST_RESORT_S = 10.0
_LOOK_FOR_CLIENT_MS = 1000
_POSTGRES_EPOCH_US = 946_684_800_000_000
"""Postgres counts microseconds from 2000-01-01T00:00:00Z."""


def session_settings(command_timeout_s: float) -> dict[str, str]:
    """The settings that a session starts with.

    A client that is stopped or cut off in mid-transaction loses its session after half of the
    command timeout, a second at the least: whoever waits for its lock gets it in time.

    Args:
        command_timeout_s: how long a client waits for a statement, in seconds.
    """
    absence_s = max(_SHORTEST_ABSENCE_S, command_timeout_s / 2)
    absence_ms = round(absence_s * 1000)
    # A server that ends a COMMIT that waits for its standby confirms it all the same. So the
    # client's own timeout comes first, and no shorter one of a role or a database counts.
    statement_ms = round((command_timeout_s + _LAST_RESORT_S) * 1000)
    return _FIXED | {
        "idle_in_transaction_session_timeout": str(absence_ms),
        "statement_timeout": str(statement_ms),
        # Of no effect on a Unix socket. The server's own would be hours.
        "tcp_user_timeout": str(absence_ms),
        "tcp_keepalives_idle": str(round(absence_s)),
        "tcp_keepalives_interval": "1",
        "tcp_keepalives_count": "5",
    }


async def start_session(connection: asyncpg.Connection) -> None:
    """What a new connection of a store needs beyond `session_settings`."""
    await exact_times(connection)
    await look_for_client(connection)


async def exact_times(connection: asyncpg.Connection) -> None:
    """Let every timestamptz be an int of microseconds since 1970-01-01T00:00:00Z."""
    # The driver's own codec takes the last microsecond of the year 9999 for infinity.
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=lambda time_us: (time_us - _POSTGRES_EPOCH_US,),
        decoder=lambda parts: parts[0] + _POSTGRES_EPOCH_US,
    )


async def look_for_client(connection: asyncpg.Connection) -> None:
    """Let the server look, while a statement runs, whether its client is still there.

    Without it, a statement that waits for a lock goes on waiting after its client hung up.
    """
    try:
        await connection.execute(f"SET client_connection_check_interval = {_LOOK_FOR_CLIENT_MS}")
    except asyncpg.InvalidParameterValueError:
        # The server runs on a system that can't tell it; statement_timeout is the last resort.
        return
