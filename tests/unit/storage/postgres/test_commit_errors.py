"""Whether a statement that was to commit and ended in an error may have committed all the same."""

from typing import Any

import asyncpg
import pytest

from storage.errors import OutcomeUnknown
from storage.postgres import optimistic_append
from storage.postgres.commit import commit, may_be_committed


def error(kind: type[Exception], severity: str | None) -> Exception:
    """An error as the driver makes it of what a server sends, or of a connection that is lost."""
    made = kind("what it says")
    if isinstance(made, asyncpg.PostgresError):
        made.severity_en = severity
    return made


WITHOUT_CODE = asyncpg.PostgresError

TABLE = [
    # The server ends the statement alone, before it commits.
    (asyncpg.SerializationError, "ERROR", False),
    (asyncpg.DeadlockDetectedError, "ERROR", False),
    (asyncpg.UniqueViolationError, "ERROR", False),
    (asyncpg.DiskFullError, "ERROR", False),
    (asyncpg.PostgresIOError, "ERROR", False),
    (asyncpg.DataCorruptedError, "ERROR", False),
    (asyncpg.InternalServerError, "ERROR", False),
    # It may have been waiting for what comes after the commit.
    (asyncpg.QueryCanceledError, "ERROR", True),
    (asyncpg.QueryCanceledError, None, True),
    # The session is gone.
    (asyncpg.AdminShutdownError, "FATAL", True),
    (asyncpg.CrashShutdownError, "FATAL", True),
    (asyncpg.InternalServerError, "PANIC", True),
    (asyncpg.PostgresIOError, "FATAL", True),
    # A pooler says so, or the driver itself, and names no severity.
    (asyncpg.ProtocolViolationError, None, True),
    (asyncpg.ConnectionDoesNotExistError, None, True),
    (asyncpg.ConnectionFailureError, None, True),
    (WITHOUT_CODE, None, True),
    # There is no answer.
    (TimeoutError, None, True),
    (ConnectionResetError, None, True),
    (asyncpg.InterfaceError, None, True),
    (asyncpg.InternalClientError, None, True),
]


class Failing:
    """A connection whose statements all end in one error."""

    marker = if_marked = ""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def execute(self, _sql: str, *_arguments: object) -> str:
        raise self._error

    fetchval = execute

    def add_log_listener(self, _listener: object) -> None: ...

    def remove_log_listener(self, _listener: object) -> None: ...

    def terminate(self) -> None: ...


async def commit_in_a_transaction(connection: Any) -> None:
    await commit(connection)


async def store_optimistically(connection: Any) -> None:
    await optimistic_append._store(connection, [])


@pytest.mark.parametrize("way", [commit_in_a_transaction, store_optimistically])
@pytest.mark.parametrize(("kind", "severity", "unknown"), TABLE)
async def test_both_ways_say_the_same_of_an_error(
    kind: type[Exception], severity: str | None, unknown: bool, way: Any
) -> None:
    failed = error(kind, severity)
    assert may_be_committed(failed) == unknown
    with pytest.raises(OutcomeUnknown if unknown else kind) as caught:
        await way(Failing(failed))
    assert "what it says" in str(caught.value)


@pytest.mark.parametrize("failed", [ValueError("wrong"), KeyError("wrong")])
def test_an_error_of_another_kind_says_nothing_of_a_commit(failed: Exception) -> None:
    assert not may_be_committed(failed)
