"""The schema of a Postgres database that has the log: found, made, and brought up to date.

A log is known by three of its tables, which every version has. It is looked for in every schema
before one is made: an empty log beside a full one would take every retry for new.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from storage.errors import StorageMisconfigured, StorageUnavailable
from storage.migrations import AFTER_BACKFILL, BACKFILL_S, Migration, pending
from storage.postgres.backfill import MIGRATION_LOCK, backfill, is_done
from storage.postgres.errors import terminate, words
from storage.postgres.names_in_the_way import NO_LOG, check_names
from storage.postgres.session import AnyConnection, begin

_MAX_LOCK_WAIT_MS = 2000
"""How long a migration waits for a lock on a table, in milliseconds."""

_LOGS = """
SELECT n.nspname::text FROM pg_namespace AS n
WHERE n.nspname !~ '^pg_' AND 3 = (
    SELECT count(*) FROM pg_class AS c
    WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
      AND c.relname IN ('aggregator_schema', 'topics', 'events'))
ORDER BY n.nspname"""

_RIGHTS = """
SELECT current_user::text, quote_ident(current_user), quote_ident($1),
       EXISTS (SELECT FROM pg_namespace WHERE nspname = $1),
       (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1),
       (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1),
       has_database_privilege(current_database(), 'CREATE')"""

# Those of the last migrations are not there yet while what they need is added (see `backfill`).
_TABLE_RIGHTS = """
SELECT right_name, name FROM (VALUES
    ('SELECT', 'aggregator_schema'), ('SELECT', 'topics'), ('INSERT', 'topics'),
    ('UPDATE', 'topics'), ('SELECT', 'events'), ('INSERT', 'events'), ('SELECT', 'writers'),
    ('INSERT', 'writers'), ('UPDATE', 'writers'), ('DELETE', 'writers'),
    ('SELECT', 'appends'), ('INSERT', 'appends')) AS need (right_name, name)
WHERE NOT has_table_privilege(name, right_name)
UNION ALL
SELECT right_name, name
FROM unnest(ARRAY['subscriptions', 'subscription_topics', 'subscription_failures',
                  'subscription_settles']) AS name,
     unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS right_name
WHERE NOT has_table_privilege(to_regclass(name), right_name) LIMIT 1"""

_NOT_KEPT = """
SELECT name FROM unnest(ARRAY[
    'aggregator_schema', 'topics', 'events', 'appends', 'subscriptions', 'subscription_topics',
    'subscription_failures', 'subscription_settles']) AS name
WHERE (SELECT relpersistence FROM pg_class WHERE oid = to_regclass(name)) <> 'p' LIMIT 1"""

_AT_RISK = """
SELECT name FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes') AND setting <> 'on' ORDER BY name"""


class _Rights(NamedTuple):
    """The rights of the role in the database and in one schema."""

    role: str
    quoted_role: str
    quoted_schema: str
    exists: bool
    use: bool | None
    create: bool | None
    create_schema: bool


async def first_schema(connection: AnyConnection) -> str | None:
    """Read the schema that names are looked for in, in a session as `start_session` leaves it."""
    await begin(connection, "BEGIN")
    name: str | None = await connection.fetchval("SELECT current_schema()::text")
    await connection.execute("COMMIT")
    # That of temporary tables comes last in every session, and is no place for a log.
    return None if name is None or name.startswith("pg_") else name


async def prepare(connection: AnyConnection, schema: str | None, *, named: bool) -> list[str]:
    """Find the log, or make one, and bring it up to date.

    In one transaction, unless a large log needs more.

    Args:
        connection: a `Session` whose names are looked for in the schema.
        schema: where the log is to be; None if no schema of `search_path` exists.
        named: whether an operator named the schema.

    Returns:
        Warnings for the operator of the database, a sentence each.

    Raises:
        StorageMisconfigured: the log is elsewhere, something is in its way, a right is missing,
            or the database can't hold it.
        StorageUnavailable: the database is read-only, or not all is done yet; the next call goes
            on.
    """
    deadline_s = asyncio.get_running_loop().time() + BACKFILL_S
    try:
        while (warnings := await _bring_up_to_date(connection, schema, named=named)) is None:
            await backfill(connection, deadline_s)
    except BaseException:
        terminate(connection)
        raise
    return warnings


def log_of(logs: Sequence[str], schema: str | None, *, named: bool) -> str:
    """Choose the schema to read a log from.

    Args:
        logs: the schemas that have one, see `find_logs`.
        schema: the one that an operator named, or the first of `search_path`.
        named: whether an operator named it.

    Raises:
        StorageMisconfigured: it has none.
    """
    if schema is not None and schema in logs:
        return schema
    if not logs:
        raise StorageMisconfigured(
            "the Postgres database holds no log of this program: give the DSN of one that does"
        )
    if named:
        raise StorageMisconfigured(
            f"the Postgres database holds no log in the schema {schema!r}, but in "
            f"{_listed(logs)}: name that with --schema"
        )
    raise _elsewhere(logs, schema)


async def find_logs(connection: AnyConnection) -> list[str]:
    """List the schemas of the database that have a log, in order."""
    return [name for (name,) in await connection.fetch(_LOGS)]


async def _bring_up_to_date(
    connection: AnyConnection, schema: str | None, *, named: bool
) -> list[str] | None:
    """Do what can be done in one transaction; return the warnings, None if that is not all."""
    await begin(connection, "BEGIN ISOLATION LEVEL READ COMMITTED")
    is_complete = await _find_or_make(connection, schema, named=named)
    at_risk = [name for (name,) in await connection.fetch(_AT_RISK)]
    await connection.execute("COMMIT")
    if not is_complete:
        return None
    return [
        f"Postgres has {name} = off: what was acknowledged may be lost, and the database damaged, "
        "when its machine fails"
        for name in at_risk
    ]


async def _find_or_make(connection: AnyConnection, schema: str | None, *, named: bool) -> bool:
    await _check_database(connection)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
    logs = await find_logs(connection)
    if schema is None:
        raise _no_schema(logs)
    rights = _Rights(*(await connection.fetch(_RIGHTS, schema))[0])
    if schema in logs:
        _check_may_use(rights)
    else:
        await _make_room(connection, schema, logs, rights, named=named)
    is_complete = await _migrate(connection, schema, rights)
    for right, table in await connection.fetch(_TABLE_RIGHTS):
        raise _lacks(rights, right, f"{rights.quoted_schema}.{table}")
    for (table,) in await connection.fetch(_NOT_KEPT):
        raise StorageMisconfigured(
            f"Postgres: the table {rights.quoted_schema}.{table} does not survive a crash of the "
            f"server: ALTER TABLE {rights.quoted_schema}.{table} SET LOGGED"
        )
    return is_complete


async def _check_database(connection: AnyConnection) -> None:
    ((encoding, read_only),) = await connection.fetch(
        "SELECT current_setting('server_encoding'), current_setting('transaction_read_only')"
    )
    if encoding != "UTF8":
        raise StorageMisconfigured(
            f"the Postgres database has encoding {encoding}, which can't hold every event: "
            "create one with ENCODING 'UTF8'"
        )
    if read_only == "on":
        raise StorageUnavailable("Postgres: the database is read-only")


async def _make_room(
    connection: AnyConnection, schema: str, logs: Sequence[str], rights: _Rights, *, named: bool
) -> None:
    """Check that a log can be made in the schema, and may be; make the schema if it is missing."""
    # A schema that exists and is named by the operator is meant. One that does not exist may be a
    # slip of the pen, and one that nobody named is chance.
    if logs and not (named and rights.exists):
        raise _elsewhere(logs, schema)
    if not rights.exists:
        if not rights.create_schema:
            raise StorageMisconfigured(
                f"the Postgres database has no schema {schema!r}, and the role {rights.role!r} may "
                f"not make it: CREATE SCHEMA {rights.quoted_schema} "
                f"AUTHORIZATION {rights.quoted_role}"
            )
        await connection.execute(f"CREATE SCHEMA {rights.quoted_schema}")
        return
    _check_may_use(rights)
    await check_names(connection, schema, NO_LOG)
    if not rights.create:
        raise _lacks(rights, "CREATE", f"SCHEMA {rights.quoted_schema}")


async def _migrate(connection: AnyConnection, schema: str, rights: _Rights) -> bool:
    """Apply the steps, up to the one that a backfill has to come before; return if that is all."""
    if await connection.fetchval("SELECT to_regclass('aggregator_schema') IS NULL"):
        await connection.execute(
            "CREATE TABLE aggregator_schema (version integer NOT NULL PRIMARY KEY, "
            "applied_at timestamptz NOT NULL DEFAULT now())"
        )
    elif not await connection.fetchval("SELECT has_table_privilege('aggregator_schema', 'SELECT')"):
        raise _lacks(rights, "SELECT", f"{rights.quoted_schema}.aggregator_schema")
    version = await connection.fetchval("SELECT coalesce(max(version), 0) FROM aggregator_schema")
    steps = pending("postgres", version)
    if steps and version:
        await check_names(connection, schema, version)
        # Whoever waits for a lock on a table keeps all waiting that come after.
        await connection.execute(f"SET LOCAL lock_timeout = {_MAX_LOCK_WAIT_MS}")
    try:
        return await _apply(connection, steps)
    except asyncpg.LockNotAvailableError as error:
        raise StorageUnavailable(
            "the schema of the log can't be brought up to date while a transaction of others lasts "
            f"({words(error)}): wait for the end of a backup or of verify"
        ) from error


async def _apply(connection: AnyConnection, steps: Sequence[Migration]) -> bool:
    for step in steps:
        if step.version == AFTER_BACKFILL["postgres"] and not await is_done(connection):
            return False
        await connection.execute(step.sql)
        await connection.execute(
            "INSERT INTO aggregator_schema (version) VALUES ($1)", step.version
        )
    return True


def _check_may_use(rights: _Rights) -> None:
    if not rights.use:
        raise _lacks(rights, "USAGE", f"SCHEMA {rights.quoted_schema}")


def _lacks(rights: _Rights, right: str, what: str) -> StorageMisconfigured:
    return StorageMisconfigured(
        f"the Postgres role {rights.role!r} lacks a right: "
        f"GRANT {right} ON {what} TO {rights.quoted_role}"
    )


def _elsewhere(logs: Sequence[str], schema: str | None) -> StorageMisconfigured:
    return StorageMisconfigured(
        f"the Postgres database has a log in the schema {_listed(logs)}, not in {schema!r}: name "
        "the one to use with --schema; for a second log, make its schema and name that"
    )


def _no_schema(logs: Sequence[str]) -> StorageMisconfigured:
    there = f"; there is a log in {_listed(logs)}" if logs else ""
    return StorageMisconfigured(
        "Postgres: no schema of the role's search_path exists, or may be used: name one with "
        f"--schema{there}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
