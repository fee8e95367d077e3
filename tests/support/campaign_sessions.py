"""How the aggregators of a crash campaign are seen from their database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import asyncpg

from support.backends import Database
from support.load import LIMIT_S
from support.processes import Aggregator

_SESSIONS = """
SELECT pid, xact_start::text FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
  AND pid <> pg_backend_pid()"""


# The server of the tests does not flush, so its COMMIT is over in no time.
_SLOW_COMMIT = """
CREATE FUNCTION take_a_while() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN PERFORM pg_sleep(0.001); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow_commit AFTER UPDATE ON topics DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.received > OLD.received) EXECUTE FUNCTION take_a_while()"""


class Sessions(Protocol):
    """What a database knows of the aggregators that use it."""

    async def opened_by(self, aggregator: Aggregator) -> None:
        """Return once an aggregator that was just spawned begins to open its store."""

    async def slow_commits(self) -> None:
        """Make a COMMIT take some milliseconds if it takes none; the schema must be there."""

    async def settled(self) -> None:
        """Return once no transaction goes on that was under way when this was called."""


class SqliteSessions:
    """A file: what a process had begun ends with the process."""

    def __init__(self, path: Path) -> None:
        self._path = str(path.resolve())

    async def opened_by(self, aggregator: Aggregator) -> None:
        """See `Sessions.opened_by`."""

        async def has_the_file() -> bool:
            _check_running(aggregator)
            return self._path in _files_of(aggregator.process.pid)

        await _until(has_the_file)

    async def slow_commits(self) -> None:
        """See `Sessions.slow_commits`; the file is flushed, as everywhere."""

    async def settled(self) -> None:
        """See `Sessions.settled`."""


class PostgresSessions:
    """A server: it goes on with what a killed client had sent, a COMMIT too.

    A session is not told apart by whose it is, so the transactions of all of them are waited
    for. One that begins later is none of a killed aggregator: it could not get beyond BEGIN,
    having nobody to read the answer.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def opened_by(self, aggregator: Aggregator) -> None:
        """See `Sessions.opened_by`."""
        before = {pid for pid, _ in await self._sessions()}

        async def has_a_session() -> bool:
            _check_running(aggregator)
            return any(pid not in before for pid, _ in await self._sessions())

        await _until(has_a_session)

    async def slow_commits(self) -> None:
        """See `Sessions.slow_commits`."""
        await self._connection.execute(_SLOW_COMMIT)

    async def settled(self) -> None:
        """See `Sessions.settled`."""
        under_way = {session for session in await self._sessions() if session[1] is not None}

        async def are_over() -> bool:
            return not under_way & await self._sessions()

        await _until(are_over)

    async def _sessions(self) -> set[tuple[int, str | None]]:
        return {(pid, start) for pid, start in await self._connection.fetch(_SESSIONS)}


@asynccontextmanager
async def sessions_of(database: Database) -> AsyncIterator[Sessions]:
    """The sessions on a database, for as long as the context lasts."""
    if database.backend == "sqlite":
        yield SqliteSessions(database.path)
        return
    connection = await asyncpg.connect(database.dsn)
    try:
        yield PostgresSessions(connection)
    finally:
        await connection.close()


def _check_running(aggregator: Aggregator) -> None:
    assert aggregator.process.poll() is None, aggregator.written()


def _files_of(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(str(entry.readlink()))
    return found


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens elsewhere
            await asyncio.sleep(0.001)
