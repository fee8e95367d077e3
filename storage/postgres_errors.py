"""What goes wrong on the way to Postgres, in the words of `storage.errors`.

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

CUT_OFF = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver raises when a connection is lost; the last one when the server's farewell
arrives just as a statement is sent."""


def terminate(connection: PoolConnectionProxy) -> None:
    """Close a connection at once, without a word to the server."""
    # A connection that was seen to be lost has gone back to its pool by itself, and then even
    # this raises; what is being told must not be replaced by that.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


def ended_the_session(error: asyncpg.PostgresError) -> bool:
    """Whether the server went away with this error, instead of ending the statement alone.

    Then what the statement was to commit may have been committed. After an ERROR it was not.
    """
    severity: str | None = getattr(error, "severity_en", None)
    return severity != "ERROR"


@asynccontextmanager
async def translated() -> AsyncGenerator[None, None]:
    """Turn the driver's exceptions into those of `storage.errors`."""
    try:
        yield
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.InsufficientPrivilegeError,
    ) as error:
        raise StorageMisconfigured(f"Postgres: {words(error)}") from error
    except asyncpg.PostgresError as error:
        raise _translate(error) from error
    except CUT_OFF as error:
        raise StorageUnavailable(f"Postgres is out of reach: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Why a connection was lost, in a few words."""
    silent = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return str(error) or silent


def words(error: asyncpg.PostgresError) -> str:
    """What the server said, in one line."""
    parts = (error.args[0] if error.args else "", error.detail, error.hint)
    return "; ".join(part for part in parts if part).replace("\n", " ")


def _translate(error: asyncpg.PostgresError) -> StorageError:
    sentence = f"Postgres: {words(error)}"
    if not error.sqlstate or error.sqlstate.startswith(_RETRYABLE):
        return StorageUnavailable(sentence)
    return BatchRefused(sentence)
