"""Session settings, set and verified, so that a session depends on no default of its server.

And so that a session whose client is gone without a word does not keep what it holds: the lock
on a topic stops everybody who publishes to it.

They are set in the session, not by start-up parameters: poolers refuse those that they do not
know, or drop them. Then they are read back, in another transaction, for what stands between may
give that to another session. A session is known by a marker, a setting that means nothing to the
server; a connection that finds its own has the session that all else was set in. Until that is
sure, nothing runs outside of a transaction by the name of a prepared statement: behind a pooler it
might be somebody else's statement.
"""

import uuid
from collections.abc import Mapping
from typing import Any, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.errors import StorageMisconfigured
from storage.postgres.errors import SessionShared, terminate

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
    "TimeZone": "UTC",
}

_STRONGER = {"synchronous_commit": "remote_apply"}
"""Values that are left as they are: the operator wants more than is needed."""

_NOT_VERIFIED = ("application_name", "tcp_")
"""No promise rests on a name; and the others are 0 on a Unix socket."""

MARKER = "aggregator.session"
"""The setting that identifies a session."""

_ROUNDS = 4

_SHORTEST_ABSENCE_S = 1.0
_LAST_RESORT_S = 10.0
_CLIENT_CHECK_MS = 1000
POSTGRES_EPOCH_US = 946_684_800_000_000
"""Postgres counts microseconds from 2000-01-01T00:00:00Z."""

AnyConnection = asyncpg.Connection | PoolConnectionProxy


class Session(asyncpg.Connection):
    """A connection whose session bears a marker."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.marker = uuid.uuid4().hex
        """Unique among the connections of all stores."""
        self.if_marked = (
            f"SELECT WHERE pg_catalog.current_setting('{MARKER}', true) = '{self.marker}'"
        )
        """A query that has a row if the session that runs it is the one of this connection."""


def own(connection: AnyConnection) -> Session:
    """Cast a connection of a store, or its proxy of a pool, to its class."""
    return cast("Session", connection)


def session_settings(command_timeout_s: float) -> dict[str, str]:
    """Compute the settings that a session starts with.

    A client that is stopped or cut off in mid-transaction loses its session after half of the
    command timeout, a second at the least: whoever waits for its lock gets it in time.

    Args:
        command_timeout_s: how long a client waits for a statement, in seconds.

    Returns:
        Values by the names of the settings.
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


async def start_session(
    connection: asyncpg.Connection, settings: Mapping[str, str], schema: str | None
) -> None:
    """Start the session of a new connection of a store.

    Args:
        connection: not used before.
        settings: what to set, by name.
        schema: where the log is; None for the first schema of `search_path` that exists. That
            one, and no other, names are then looked for in.

    Raises:
        SessionShared: the session is not that of the connection alone.
        StorageMisconfigured: a setting is not what it was set to.
    """
    try:
        await connection.execute(set_settings({**settings, MARKER: own(connection).marker}, schema))
        await begin(connection, "BEGIN")
        await _verify_settings(connection, settings)
        await use_exact_times(connection)
        await connection.execute("COMMIT")
        await enable_client_check(connection)
    except BaseException:
        # To close it in an orderly way, an answer would have to be waited for.
        terminate(connection)
        raise


def set_settings(settings: Mapping[str, str], schema: str | None, *, local: bool = False) -> str:
    """Make the statements that set settings, to be sent as one.

    Args:
        settings: values by name.
        schema: the schema that names are then looked for in; None for the first of `search_path`
            that exists.
        local: whether they end with the transaction.
    """
    path = quote_literal(schema) if schema is not None else "pg_catalog.current_schema()"
    values = {name: quote_literal(value) for name, value in settings.items()}
    for name, stronger in _STRONGER.items():
        if name in values:
            values[name] = (
                f"CASE pg_catalog.current_setting('{name}') WHEN '{stronger}' "
                f"THEN '{stronger}' ELSE {values[name]} END"
            )
    # Temporary tables last: without a word of them they would be found first.
    values["search_path"] = f"pg_catalog.concat(pg_catalog.quote_ident({path}) || ', ', 'pg_temp')"
    until = "true" if local else "false"
    # First of all, for a role's timeout may be shorter than all this takes.
    return f"SET {'LOCAL ' if local else ''}statement_timeout = 0; SELECT " + ", ".join(
        f"pg_catalog.set_config('{name}', {value}, {until})" for name, value in values.items()
    )


async def begin(connection: AnyConnection, transaction: str) -> None:
    """Begin a transaction in the session of a store's connection.

    Whatever pooler stands between: until it ends, all runs in that session.

    Args:
        connection: one that has a session by `start_session`.
        transaction: the BEGIN.

    Raises:
        SessionShared: it was begun in another session; the connection must be closed.
    """
    if await connection.execute(f"{transaction}; {own(connection).if_marked}") != "SELECT 1":
        raise SessionShared


async def check_separate_sessions(one: AnyConnection, other: AnyConnection) -> None:
    """Check that each of two connections finds its own session again and again.

    Where several clients share sessions by turns, one of them gets the other's, or each gets
    another one than before: with a transaction of the other open or not, right after its own last
    one or not. Luck could hide it once.

    Raises:
        SessionShared: they do not have a session each.
    """
    for _ in range(_ROUNDS):
        for idle, busy in ((one, other), (other, one)):
            await _check_marked(idle)
            await _check_marked(idle)
            await begin(busy, "BEGIN")
            await _check_marked(idle)
            await busy.execute("ROLLBACK")


async def _check_marked(connection: AnyConnection) -> None:
    if await connection.execute(own(connection).if_marked) != "SELECT 1":
        raise SessionShared


async def _verify_settings(connection: asyncpg.Connection, settings: Mapping[str, str]) -> None:
    wanted = {name: value for name, value in settings.items() if not name.startswith(_NOT_VERIFIED)}
    rows = await connection.fetch(
        "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY ($1::text[])",
        list(wanted),
    )
    found: dict[str, str] = {row["name"]: row["setting"] for row in rows}
    for name, value in wanted.items():
        shown = found.get(name, "")
        if shown not in {value, _STRONGER.get(name, value)}:
            raise StorageMisconfigured(
                f"Postgres: {name} is {shown!r} in a session that set it to {value!r}, "
                "and what is stored rests on it: connect to Postgres itself, or by a pooler that "
                "leaves a session alone"
            )


def quote_literal(text: str) -> str:
    """Quote a text as an SQL literal, whatever `standard_conforming_strings` is."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


async def use_exact_times(connection: asyncpg.Connection) -> None:
    """Set a codec by which a timestamptz is an int of microseconds since 1970-01-01T00:00:00Z."""
    # The driver's own codec takes the last microsecond of the year 9999 for infinity.
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=lambda time_us: (time_us - POSTGRES_EPOCH_US,),
        decoder=lambda parts: parts[0] + POSTGRES_EPOCH_US,
    )


async def enable_client_check(connection: asyncpg.Connection) -> None:
    """Enable the server's check, while a statement runs, that its client is still there.

    Without it, a statement that waits for a lock goes on waiting after its client hung up.
    """
    try:
        await connection.execute(f"SET client_connection_check_interval = {_CLIENT_CHECK_MS}")
    except asyncpg.InvalidParameterValueError:
        # The server's system does not support it; statement_timeout is the last resort.
        return
