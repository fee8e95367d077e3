"""Whether a statement that was to commit and ended in an error may have committed all the same."""

from typing import Any

import asyncpg
import pytest
from support.events import event

from storage.errors import OutcomeUnknown
from storage.postgres import locked_append as postgres_locked_append
from storage.postgres.errors import may_be_committed
from storage.postgres.optimistic_append import _NOTHING, _Batch


def error(kind: type[asyncpg.PostgresError], severity: str | None) -> asyncpg.PostgresError:
    """An error as the driver makes it of what a server sends."""
    made = kind("what it says")
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
]


class Failing:
    """A connection whose statements all end in one error."""

    marker = if_marked = ""

    def __init__(self, error: asyncpg.PostgresError) -> None:
        self._error = error

    async def execute(self, _sql: str, *_arguments: object) -> str:
        raise self._error

    fetchval = execute

    def add_log_listener(self, _listener: object) -> None: ...

    def remove_log_listener(self, _listener: object) -> None: ...


async def commit_in_a_transaction(connection: Any) -> None:
    await postgres_locked_append._commit(connection)


async def store_ahead_of_the_lock(connection: Any) -> None:
    await _Batch(connection, [event("t", "x")], _NOTHING)._store([])


@pytest.mark.parametrize("way", [commit_in_a_transaction, store_ahead_of_the_lock])
@pytest.mark.parametrize(("kind", "severity", "unknown"), TABLE)
async def test_both_ways_say_the_same_of_an_error(
    kind: type[asyncpg.PostgresError], severity: str | None, unknown: bool, way: Any
) -> None:
    failed = error(kind, severity)
    assert may_be_committed(failed) == unknown
    with pytest.raises(OutcomeUnknown if unknown else kind) as caught:
        await way(Failing(failed))
    assert "what it says" in str(caught.value)
