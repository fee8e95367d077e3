"""Transactions of an aggregator on Postgres that stop where a test wants them to, for real."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum

import asyncpg

from support.load import LIMIT_S

_LOCK = 0x48454C44

_WAITING = """
SELECT pid FROM pg_stat_activity
WHERE application_name = 'pubsub-log-aggregator' AND datname = current_database()
  AND wait_event = $1"""


class Place(Enum):
    """Where a transaction is stopped: a trigger that waits there for a lock of the test's."""

    LOCK_TOPICS = "BEFORE INSERT ON topics FOR EACH STATEMENT"
    INSERT = "BEFORE INSERT ON events FOR EACH STATEMENT"
    COUNT = "BEFORE UPDATE OF received ON topics FOR EACH STATEMENT"
    COUNTED = "AFTER UPDATE OF received ON topics FOR EACH STATEMENT"
    COMMIT = "AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"


class Held:
    """A session of the test's own that holds transactions up.

    `connection` is at the test's disposal.
    """

    def __init__(self, dsn: str, connection: asyncpg.Connection) -> None:
        self._dsn = dsn
        self.connection = connection

    async def stopped(self, wait_event: str = "advisory") -> int:
        """Wait until a transaction is held up; returns the process id of its server process."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                pid = await self.connection.fetchval(_WAITING, wait_event)
                if pid is not None:
                    return int(pid)
                await asyncio.sleep(0.01)

    async def hold(self) -> None:
        """Hold up whoever comes to the place from now on."""
        await self.connection.execute("SELECT pg_advisory_lock($1)", _LOCK)

    async def let_go(self) -> None:
        """Hold nobody up any more."""
        await self.connection.execute("SELECT pg_advisory_unlock_all()")

    async def until_idle_in_transaction(self, pid: int) -> None:
        """Wait until a server process waits for the next statement of a transaction."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                state = await self.connection.fetchval(
                    "SELECT state FROM pg_stat_activity WHERE pid = $1", pid
                )
                if state == "idle in transaction":
                    return
                await asyncio.sleep(0.01)

    async def until_nobody_waits(self) -> None:
        """Wait until no transaction is held up, without letting it go."""
        async with asyncio.timeout(LIMIT_S):
            while await self.connection.fetchval(_WAITING, "advisory") is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def until_commits_wait(self) -> None:
        """Wait until the server, told to, waits for a standby at COMMIT."""
        prober = await asyncpg.connect(self._dsn)
        pid = prober.get_server_pid()
        try:
            async with asyncio.timeout(LIMIT_S):
                while True:
                    commit = asyncio.create_task(
                        prober.execute("SELECT pg_logical_emit_message(true, '', '')")
                    )
                    while not commit.done():
                        event = await self.connection.fetchval(
                            "SELECT wait_event FROM pg_stat_activity WHERE pid = $1", pid
                        )
                        if event == "SyncRep":
                            await self.connection.execute("SELECT pg_cancel_backend($1)", pid)
                            await commit
                            return
        finally:
            await prober.close()


@asynccontextmanager
async def held(dsn: str, place: Place | None = None) -> AsyncIterator[Held]:
    """Hold up every transaction that comes to `place`, from the next one on.

    Without a place nothing is held up.
    """
    connection = await asyncpg.connect(dsn, server_settings={"synchronous_commit": "local"})
    holder = Held(dsn, connection)
    try:
        if place is not None:
            constraint = "CONSTRAINT" if place is Place.COMMIT else ""
            await connection.execute(
                "CREATE OR REPLACE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS $$"
                f" BEGIN PERFORM pg_advisory_xact_lock_shared({_LOCK}); RETURN NULL; END $$"
            )
            await connection.execute(
                f"CREATE {constraint} TRIGGER held {place.value} EXECUTE FUNCTION held()"
            )
            await holder.hold()
        yield holder
    finally:
        # A test may have killed the server at the other end: then it is closed already.
        with suppress(ConnectionError):
            await connection.close()
