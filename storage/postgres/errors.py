"""Translation of the driver's exceptions into those of `storage.errors`.

No exception of the driver leaves `storage`, and a connection that was cut off is not used again.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.errors import (
    BatchRefused,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)

_RETRYABLE = ("08", "25", "40", "53", "55", "57", "58")
"""SQLSTATE classes whose cause is not the batch: connection, read-only, deadlock or
serialization, resources, lock not available, operator, system."""

UNUSABLE = (asyncpg.ClientConfigurationError, asyncpg.UndefinedObjectError)
"""Exceptions of a connection attempt with a DSN that the driver, or the server, can't use."""

CUT_OFF = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Exceptions of the driver when a connection is lost; the last one when the server's farewell
arrives just as a statement is sent."""


_UNKNOWN_PARAMETER = "unsupported startup parameter"
_STATEMENT_POOLING = "not allowed in statement pooling mode"
"""Texts of PgBouncer's errors, which have no code of their own."""

SHARED = (
    "Postgres: something between gives one session to several clients in turn (transaction or "
    "statement pooling), so that nothing set in it can be relied on: use session pooling (in "
    "PgBouncer pool_mode = session and server_reset_query = DISCARD ALL), or connect to Postgres "
    "itself"
)


class SessionShared(StorageUnavailable):
    """A server session is shared with other clients; nothing was stored."""

    def __init__(self) -> None:
        super().__init__(SHARED)


def terminate(connection: PoolConnectionProxy | asyncpg.Connection) -> None:
    """Close a connection at once, without a word to the server."""
    # A connection that was seen to be lost has gone back to its pool by itself, and then even
    # this raises; the error that is on its way must not be replaced by that.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


@asynccontextmanager
async def translated() -> AsyncGenerator[None, None]:
    """Translate the driver's exceptions that the body raises.

    Raises:
        StorageMisconfigured: waiting will not help: the role, its rights, the database's name.
        SessionShared: a pooler gives the session to others as well.
        StorageUnavailable: the cause is not the batch.
        BatchRefused: the cause may be the batch.
    """
    try:
        yield
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.InsufficientPrivilegeError,
    ) as error:
        raise StorageMisconfigured(f"Postgres: {words(error)}") from error
    except (
        asyncpg.DuplicatePreparedStatementError,
        asyncpg.InvalidSQLStatementNameError,
    ) as error:
        # Somebody else's statement has the name, or the one that was prepared is not there.
        raise SessionShared from error
    except asyncpg.PostgresError as error:
        raise _translate(error) from error
    except CUT_OFF as error:
        raise StorageUnavailable(f"Postgres is out of reach: {reason(error)}") from error


def unusable(error: Exception) -> str:
    """Describe why a DSN can't be used.

    Args:
        error: one of `UNUSABLE`, or the ValueError that the connection attempt raised.

    Returns:
        A sentence that shows nothing of the password.
    """
    if isinstance(error, asyncpg.UndefinedObjectError):
        return f"Postgres: {words(error)}; if it is in the query of the DSN, take it out there"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return f"the DSN can't be used: {error}"
    # The text of the error may be a piece of the password.
    return "the DSN can't be used: it, or a PG... variable beside it, is not as it must be"


def reason(error: BaseException) -> str:
    """Describe why a connection was lost, in a few words."""
    silent = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return str(error) or silent


def words(error: asyncpg.PostgresError) -> str:
    """Render the server's message, its detail and hint in one line."""
    parts = (error.args[0] if error.args else "", error.detail, error.hint)
    return "; ".join(part for part in parts if part).replace("\n", " ")


def _translate(error: asyncpg.PostgresError) -> StorageError:
    sentence = f"Postgres: {words(error)}"
    if _UNKNOWN_PARAMETER in sentence:
        return StorageMisconfigured(
            f"{sentence}; it is in the query of the DSN: take it out, or let the pooler ignore it "
            "(in PgBouncer ignore_startup_parameters)"
        )
    if _STATEMENT_POOLING in sentence:
        return SessionShared()
    if not error.sqlstate or error.sqlstate.startswith(_RETRYABLE):
        return StorageUnavailable(sentence)
    return BatchRefused(sentence)
