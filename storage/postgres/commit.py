"""Commits: a statement that commits, and what is known of it when its answer is bad or missing."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.errors import OutcomeUnknown, StorageUnavailable
from storage.postgres.errors import CUT_OFF, reason, terminate, words

_CANCELED = "57014"

_WAIT_FOR_STANDBY = "SyncRepWaitForLSN"
"""The function of the server that ends a COMMIT with a warning instead of an error when its wait
for a standby is cancelled. It names itself in any language of the server's messages."""


def may_be_committed(error: Exception) -> bool:
    """Tell whether a statement that ended in this error may have committed all the same.

    An error that the server ends the statement with, and not the session, comes before the commit
    or not at all. A cancellation is not trusted: it may have hit a wait that follows the commit.
    Without an answer nobody knows.
    """
    if isinstance(error, CUT_OFF):
        return True
    severity: str | None = getattr(error, "severity_en", None)
    return isinstance(error, asyncpg.PostgresError) and (
        severity != "ERROR" or error.sqlstate == _CANCELED
    )


@contextmanager
def committing(connection: PoolConnectionProxy, statement: str) -> Iterator[None]:
    """Guard a statement that commits.

    Args:
        connection: the one that the statement runs on; it is closed if the answer is missing.
        statement: what a sentence calls it.

    Raises:
        OutcomeUnknown: it may have committed, but no answer says so, or the server did not wait
            for its standby.
        asyncpg.PostgresError: it did not commit.
    """
    given_up: list[str] = []

    def hear(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.server_source_function == _WAIT_FOR_STANDBY:
            given_up.append(str(message.message))

    try:
        connection.add_log_listener(hear)
        yield
    except (*CUT_OFF, asyncpg.PostgresError) as error:
        if not may_be_committed(error):
            raise
        if isinstance(error, asyncpg.PostgresError):
            failed = f"failed, and may be done: {words(error)}"
        else:
            terminate(connection)
            failed = f"was not answered: {reason(error)}"
        raise OutcomeUnknown(f"Postgres: {statement} {failed}") from error
    finally:
        with suppress(asyncpg.InterfaceError):
            connection.remove_log_listener(hear)
    if given_up:
        raise OutcomeUnknown(f"Postgres: a standby may not have what was committed: {given_up[0]}")


async def commit(connection: PoolConnectionProxy) -> None:
    """Commit the transaction of a connection.

    Raises:
        OutcomeUnknown: it may be committed, or not; nobody knows.
        StorageUnavailable: the server rolled it back instead.
        asyncpg.PostgresError: it is not committed.
    """
    with committing(connection, "COMMIT"):
        answer = await connection.execute("COMMIT")
    if answer != "COMMIT":
        raise StorageUnavailable(f"Postgres answered {answer!r} to COMMIT")


async def roll_back(connection: PoolConnectionProxy) -> None:
    """Roll back the transaction of a connection, or close the connection if that fails.

    Only a rollback that the server confirmed lets the connection be used again; closing it makes
    the server roll back as soon as it notices.
    """
    try:
        await connection.execute("ROLLBACK")
    except BaseException as error:
        terminate(connection)
        if not isinstance(error, (*CUT_OFF, asyncpg.PostgresError)):
            raise
